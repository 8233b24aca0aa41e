"""`rstitch`, which tells on SIGUSR1 how many tasks its event loop has: a leak that no metric of an
operator's would show."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import FrameType

from rstitch.cli.main import run


def tell(number: int, frame: FrameType | None) -> None:
    """In the main thread, which is the event loop's."""
    sys.stderr.write(f"tasks={len(asyncio.all_tasks())}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    run()
