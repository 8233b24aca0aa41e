"""What vLLM's processes write to stderr while they start and run, kept off the user's terminal.

They log a great deal, and what is worth a line when one cannot start is only in there. Whoever sets
vLLM's own VLLM_LOGGING_LEVEL sees all of it instead.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

LEVEL = "VLLM_LOGGING_LEVEL"
REASON = re.compile(r"(?:^|\s)((?:[A-Za-z_]+\.)*[A-Za-z]*(?:Error|Exception)): (.+)$")


@dataclass(slots=True)
class Log:
    """Where the processes started meanwhile write. None where the user reads along."""

    file: BinaryIO | None = None

    def reason(self) -> str:
        """The first error in it that says something; empty if there is none."""
        if self.file is None:
            return ""
        self.file.seek(0)
        lines = self.file.read().decode(errors="replace").splitlines()
        found = [match[2].strip() for line in lines if (match := REASON.search(line))]
        return found[0] if found else ""


@contextmanager
def hushed() -> Iterator[Log]:
    """Processes started within write to a file that is gone when they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of vLLM's imports
        if os.environ.get(LEVEL):
            yield Log()
            return
        os.environ[LEVEL] = "ERROR"
        try:
            with _stderr_elsewhere() as log:
                yield log
        finally:
            del os.environ[LEVEL]


@contextmanager
def _stderr_elsewhere() -> Iterator[Log]:
    sys.stderr.flush()
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield Log(file)
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
