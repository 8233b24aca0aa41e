"""Files of a report: refused before the work is done, and never left half written."""

from __future__ import annotations

import os
from pathlib import Path

from rstitch.errors import BadRequest
from rstitch.files import replaced
from rstitch.report.draw.scene import Scene

PAGE, CARD = '<meta name="generator" content="rstitch', '"records_sha256"'
"""What marks a file as made here, so that it may be made anew."""


def check(option: str, path: Path, mark: str) -> None:
    """Raise BadRequest for a file that cannot be written there, or that is something else's."""
    if path.is_dir():
        raise BadRequest(f"{option} {path} is a directory; name a file")
    if not path.parent.is_dir():
        raise BadRequest(f"{option} {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadRequest(
            f"{option} {path} cannot be written: {path.parent} is not yours to write in"
        )
    if path.is_file() and not _is_ours(path, mark):
        raise BadRequest(f"{option} {path} is there, and is no file of this kind; name another")


def _is_ours(path: Path, mark: str) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            head = file.read(4096)
    except OSError:
        return False
    return mark in head or not head


def directory(option: str, path: Path) -> None:
    """Make a directory for files. Raises BadRequest where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadRequest(f"{option} {path} cannot be made: {error.strerror}") from error


def save(option: str, path: Path, text: str) -> None:
    """All or nothing: an earlier file stays as it was if this fails."""
    try:
        with replaced(path) as partial:
            partial.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadRequest(f"{option} {path} cannot be written: {error.strerror}") from error


def picture(option: str, path: Path, scene: Scene) -> None:
    """As `save`, a scene as PNG."""
    from rstitch.report.draw.png import png

    try:
        png(scene, path)
    except OSError as error:
        raise BadRequest(f"{option} {path} cannot be written: {error.strerror}") from error
