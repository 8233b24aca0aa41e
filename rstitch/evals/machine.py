"""The versions, hardware and weights that a number belongs to; None or "unknown" is honest."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from rstitch import __version__

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


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
    }
    return {**found, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


def weights(source: str) -> dict[str, str]:
    """sha256 of a model's weight files; nothing for what lies on the hub, whose revision tells."""
    place = Path(source)
    if place.is_file():
        return {place.name: digest(place)}
    files = sorted(file for pattern in WEIGHTS for file in place.glob(pattern))
    return {file.name: digest(file) for file in files}


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
