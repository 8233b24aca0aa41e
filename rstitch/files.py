"""Files that are whole or not there: written beside their place, then put into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A name in the same directory, for this process alone and gone afterwards; a link is followed,
    so that what it names is replaced and not the link."""
    place = path.resolve()
    partial = place.with_name(f".{place.name[:100]}.{os.getpid()}.tmp")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Where to write what is then to be at `path`; an earlier file stays if that raises."""
    with beside(path) as partial:
        yield partial
        partial.replace(path.resolve())


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """As `replaced`, never over anything: raises FileExistsError where somebody was faster."""
    with beside(path) as partial:
        yield partial
        _link(partial, path)


def _link(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links there
        path.open("xb").close()
        partial.replace(path)
