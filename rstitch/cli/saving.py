"""Where a trace goes: noticed before the models are loaded, and never left half written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch.errors import BadRequest
from rstitch.files import beside, replaced

if TYPE_CHECKING:
    from rstitch.trace import Trace


def check(path: Path) -> None:
    """Raise BadRequest for a place where no trace can be written."""
    if not path.parent.is_dir():
        raise BadRequest(f"--trace {path}: there is no directory {path.parent}")
    if path.is_dir():
        raise BadRequest(f"--trace {path} is a directory; name a file")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not _is_special(path):
            with beside(path) as partial:
                partial.touch(exist_ok=False)
    except OSError as error:
        raise _refusal(path, error) from error


def save(traces: Sequence[Trace], path: Path) -> None:
    """All or nothing: an earlier file stays as it was if this fails."""
    try:
        if _is_special(path):
            _write(traces, path)
            return
        with replaced(path) as partial:
            _write(traces, partial)
            if path.exists():
                shutil.copymode(path, partial)
    except OSError as error:
        raise _refusal(path, error) from error


def _is_special(path: Path) -> bool:
    """A device, a pipe, or what stdout goes to: written to, not replaced."""
    system = path.absolute().parts[1:2] in (("dev",), ("proc",))
    return path.exists() and (system or not path.is_file())


def _write(traces: Sequence[Trace], path: Path) -> None:
    from rstitch import trace

    with path.open("w", encoding="utf-8") as file:
        trace.write(traces, file)


def _refusal(path: Path, error: OSError) -> BadRequest:
    return BadRequest(f"--trace {path} cannot be written: {error.strerror}")
