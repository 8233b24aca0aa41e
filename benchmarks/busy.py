"""A process that takes a given part of one core, and no more: what others leave of a machine.

    python -m benchmarks.busy SHARE

Its work is cut into pieces of a millisecond or so, as that of a server or a client is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE = 0.001
"""Seconds of work at once."""


@contextmanager
def beside(share: float) -> Iterator[None]:
    """One of it while entered. share: 0 to 1; no process of one thread takes more."""
    command = [sys.executable, "-m", "benchmarks.busy", str(min(1.0, share))]
    root, pipe = Path(__file__).parents[1], subprocess.PIPE
    with subprocess.Popen(command, cwd=root, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            yield
        finally:
            process.kill()


def main() -> None:
    share = float(sys.argv[1])
    print("busy", flush=True)
    started, spent = time.perf_counter(), time.process_time()
    while True:
        if time.process_time() - spent < share * (time.perf_counter() - started):
            until = time.process_time() + PIECE
            while time.process_time() < until:
                pass
        else:
            time.sleep(PIECE)


if __name__ == "__main__":
    main()
