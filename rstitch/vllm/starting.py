"""Where vLLM's processes are started: their environment, and their stderr off the user's terminal.

They log a great deal, and what is worth a line when one cannot start is only in there. Whoever sets
vLLM's own VLLM_LOGGING_LEVEL sees all of it instead.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from rstitch.vllm.hidden import ASKED

LEVEL = "VLLM_LOGGING_LEVEL"
SPAWN = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"}
"""A fork of a process with threads may hang, and does not load the plugin of `hidden`."""
ON_CPU = {
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
"""Else vLLM compiles a helper at the first token and binds both engines to the same cores."""
THREADS = "OMP_NUM_THREADS"
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


def threads(rows: int) -> str:
    """CPU threads of each of two engines with so many answers in flight: all cores where only one
    engine is at it at a time, else half of them, since threads spin on cores that the other's need
    (docs/log.md)."""
    cores = os.cpu_count() or 1
    return str(cores if rows == 1 else max(1, cores // 2))


@contextmanager
def starting(device: str, rows: int = 2) -> Iterator[Log]:
    """Processes started within get what suits the device, and two engines with so many answers in
    flight, and was not set otherwise, and write to a file that is gone when they are."""
    quiet = not os.environ.get(LEVEL)
    wanted = {LEVEL: "ERROR", ASKED: str(os.getpid())} | SPAWN
    wanted |= {**ON_CPU, THREADS: threads(rows)} if device == "cpu" else {}
    ours = {name: value for name, value in wanted.items() if not os.environ.get(name)}
    with warnings.catch_warnings(), environment(ours):
        warnings.simplefilter("ignore")  # of vLLM's imports
        if not quiet:
            yield Log()
            return
        with _stderr_elsewhere() as log:
            yield log


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What processes started within find there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
