"""HTTP gives way to the engine's steps, whose process has the cores first.

A piece that comes a little later is seen by nobody; a pass that waits for a core holds up all
answers (docs/log.md).
"""

from __future__ import annotations

import os
from pathlib import Path

LESS = 10
"""Steps of niceness. A process may go down with its own, never up with another's."""
THREADS = Path("/proc/self/task")


def give_way() -> None:
    """The threads that there are, and those that they will start."""
    if not THREADS.is_dir():
        os.nice(LESS)
        return
    for thread in THREADS.iterdir():  # on Linux each has its own
        number = int(thread.name)
        os.setpriority(os.PRIO_PROCESS, number, os.getpriority(os.PRIO_PROCESS, number) + LESS)
