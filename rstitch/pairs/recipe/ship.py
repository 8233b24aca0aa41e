"""Puts a trained pair into the package and freezes it: files, tau, version, hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rstitch.pairs import BUILTIN

CARD = "pair.json"


def ship(trained: Path, tau: float, version: int, target: Path = BUILTIN) -> Path:
    """Copy ``trained``/slm and /llm to ``target`` and write pair.json; returns its path.

    Raises FileNotFoundError before anything is changed when a side has not been exported.
    """
    sides = ("slm", "llm")
    for side in sides:
        _check(trained / side)
    digests = {name: digest for side in sides for name, digest in _copy(trained, side, target)}
    return _write(target, {"version": version, "tau": tau, "sha256": digests})


def add(trained: Path, name: str, target: Path = BUILTIN) -> Path:
    """Copy ``trained``/name beside the pair in ``target``, whose card freezes it too.

    Raises FileNotFoundError before anything is changed when it has not been exported.
    """
    _check(trained / name)
    record = json.loads((target / CARD).read_text(encoding="utf-8"))
    kept = {k: v for k, v in record["sha256"].items() if not k.startswith(f"{name}/")}
    return _write(target, {**record, "sha256": {**kept, **dict(_copy(trained, name, target))}})


def _check(folder: Path) -> None:
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(f"{folder} has no exported model: train it first")


def _copy(trained: Path, name: str, target: Path) -> Iterator[tuple[str, str]]:
    """Files with their SHA-256."""
    shutil.rmtree(target / name, ignore_errors=True)
    shutil.copytree(trained / name, target / name)
    for file in sorted((target / name).iterdir()):
        file.chmod(0o644)
        yield f"{name}/{file.name}", hashlib.sha256(file.read_bytes()).hexdigest()


def _write(target: Path, record: dict[str, Any]) -> Path:
    card = target / CARD
    card.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return card
