"""GGUF files of the built-in pair: made on first use, kept where this user's caches are."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rstitch.errors import BadRequest
from rstitch.llamacpp.convert import convert
from rstitch.llamacpp.home import home

FORMAT = 1
"""Counts up when the converter writes something else for the same files."""


def cached(source: str, kind: str = "f32") -> Path:
    """The GGUF file of a directory, by its content: another version is another file."""
    directory = Path(source)
    target = home() / f"{directory.name}-{_digest(directory)}-{kind}.gguf"
    if not target.is_file():
        try:
            convert(source, target, kind)
        except BadRequest as error:
            if isinstance(error.__cause__, OSError):
                raise BadRequest(
                    f"{error}; set XDG_CACHE_HOME to a directory that can be written, or make the "
                    "files with `rstitch convert`"
                ) from error
            raise
    return target


def _digest(directory: Path) -> str:
    found = hashlib.sha256(f"format {FORMAT}".encode())
    for path in sorted(directory.iterdir()):
        found.update(path.name.encode())
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
