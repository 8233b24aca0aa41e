"""Algebra on texts that models wrote, in a process of its own that may hang, swell or die.

math-verify limits itself with signals, which work on the main thread alone, and sympy computes
9**9**9**9 if it is asked. So a worker answers one question at a time under a deadline and a bound
of memory, and one that does not come back is replaced.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from rstitch.errors import BadRequest

DEADLINE = 5.0
"""Seconds per question; the slowest honest ones take a few tenths."""
START = 60.0
"""Seconds for the first answer, which imports sympy."""


class Verifier:
    """Asks a worker; may be used from any thread. The worker starts at the first question."""

    def __init__(self, deadline: float = DEADLINE) -> None:
        self.deadline = deadline
        self.unanswered = 0
        """Questions that took too long or killed the worker; they count as unequal."""
        self._worker: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], bool] = {}

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def equal(self, gold: str, found: str) -> bool:
        """Whether two answers mean the same."""
        return self._ask(gold, found)

    def parses(self, gold: str) -> bool:
        """Whether math-verify reads a gold answer as mathematics, and finds it equal to itself."""
        return self._ask(gold)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _ask(self, *texts: str) -> bool:
        with self._lock:
            if texts not in self._known:
                self._known[texts] = self._answer(texts)
            return self._known[texts]

    def _answer(self, texts: tuple[str, ...]) -> bool:
        if self._worker is None:
            self._begin()
        assert self._worker is not None
        try:
            stdin = self._worker.stdin
            assert stdin is not None
            stdin.write(json.dumps(texts).encode() + b"\n")
            stdin.flush()
            return _reply(self._worker, self.deadline)
        except (OSError, EOFError, TimeoutError, ValueError):
            self._end()
            self.unanswered += 1
            return False
        except BaseException:  # Ctrl-C: the reply would be taken for that to the next question
            self._end()
            raise

    def _begin(self) -> None:
        self._worker = _start(self.deadline)
        try:
            _reply(self._worker, START)
        except (EOFError, TimeoutError, ValueError):
            self._end()
            raise BadRequest(
                "math-verify does not start; `python -m rstitch.evals.worker 5` says why"
            ) from None
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            assert pipe is not None
            _close(pipe)


class Plainly(Verifier):
    """Without math-verify, and where nobody is graded: what normalising does not make equal is
    not."""

    def equal(self, gold: str, found: str) -> bool:
        return False

    def parses(self, gold: str) -> bool:
        return False


def is_installed() -> bool:
    return find_spec("math_verify") is not None


def check() -> None:
    """Raise BadRequest where math-verify is not installed."""
    if not is_installed():
        raise BadRequest(
            "grading needs math-verify, which is not installed: pip install rstitch[eval]"
        )


def _start(deadline: float) -> subprocess.Popen[bytes]:
    check()
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "rstitch.evals.worker", str(deadline)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
    )


def _reply(worker: subprocess.Popen[bytes], seconds: float) -> bool:
    """The next line as a truth value. Raises TimeoutError, EOFError where the worker died, or
    ValueError where it says something else."""
    stdout = worker.stdout
    assert stdout is not None
    if not select.select([stdout], [], [], seconds)[0]:
        raise TimeoutError
    line = stdout.readline()
    if not line:
        raise EOFError
    found = json.loads(line)
    if not isinstance(found, bool):
        raise ValueError(f"{line!r} is no truth value")
    return found


def _close(pipe: IO[Any]) -> None:
    try:
        pipe.close()
    except OSError:  # what was still to be written to a worker that is gone
        pass
