"""Puts a trained pair into the package and freezes it: files, tau, version, hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from rstitch.pairs import BUILTIN


def ship(trained: Path, tau: float, version: int, target: Path = BUILTIN) -> Path:
    """Copy ``trained``/slm and /llm to ``target`` and write pair.json; returns its path.

    Raises FileNotFoundError before anything is changed when a side has not been exported.
    """
    for side in ("slm", "llm"):
        if not (trained / side / "model.safetensors").is_file():
            raise FileNotFoundError(f"{trained / side} has no exported model: train it first")
    digests = {}
    for side in ("slm", "llm"):
        shutil.rmtree(target / side, ignore_errors=True)
        shutil.copytree(trained / side, target / side)
        for file in sorted((target / side).iterdir()):
            file.chmod(0o644)
            digests[f"{side}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    card = target / "pair.json"
    record = {"version": version, "tau": tau, "sha256": digests}
    card.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return card
