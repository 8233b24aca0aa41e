"""The versions, hardware and weights that a number belongs to; None or "unknown" is honest."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache

import rstitch
from rstitch import __version__
from rstitch.pairs.hashes import digest


def machine() -> dict[str, Any]:
    """Versions and hardware."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    found = {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rstitch": __version__,
        "code": code(),
    }
    return {**found, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


def code() -> str:
    """Of all modules of this package: two checkouts of one version may differ."""
    found, root = hashlib.sha256(), Path(rstitch.__file__).parent
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root)}\0{digest(path)}\n".encode())
    return found.hexdigest()[:16]


def model(source: str, revision: str | None = None) -> dict[str, str | None]:
    """Where a model is from: for one of the hub the commit, as its cache tells."""
    repository, _, file = source.partition(":")
    place = Path(source)
    if place.exists():
        return {"source": source, "revision": None}
    found = try_to_load_from_cache(repository, file or "config.json", revision=revision)
    commit = _commit(Path(found)) if isinstance(found, str) else None
    return {"source": source, "revision": commit or revision}


def _commit(path: Path) -> str | None:
    """The hub's cache keeps a file at .../snapshots/COMMIT/FILE."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None
