"""Steps in a thread of their own, one after the other for as long as there is anything to do.

Whoever reads the events must not be waited for: to hand a burst over, be woken and come back costs
a third of the time with sixteen rows of a small model, whose weights another thread's turn has
pushed out of the core's cache meanwhile (docs/log.md).

Best of all is the thread that has loaded the models. On a CPU each thread that computes has helpers
of its own, and where a process has more of them than there are cores, OpenMP has them sleep between
two operations instead of looking out for the next: passes on two cores take twice their time.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

PATIENCE = 5.0
"""Seconds that the end of the process waits for the step under way."""


class Pump:
    """Runs `steps` until `stop`, or until it raises, in the thread that calls `run` or in one of
    its own; `wake` when there may be something to do."""

    def __init__(
        self, steps: Callable[[], None], idle: Callable[[], bool], tell: Callable[[], None]
    ) -> None:
        """steps: a few steps. tell: called after them, when there are none, and where they fail."""
        self._steps, self._idle, self._tell = steps, idle, tell
        self._news = threading.Event()
        self._stopped = False
        self.error: Exception | None = None
        """What `steps` has raised; it runs no more."""

    def start(self) -> None:
        """Run in a thread of its own."""
        thread = threading.Thread(target=self._in_thread, name="rstitch-steps", daemon=True)
        self._thread = thread
        atexit.register(self._join)  # torch must not be computing while the interpreter goes
        thread.start()

    def wake(self) -> None:
        self._news.set()

    def stop(self) -> None:
        """Begin no further step. The one under way is not waited for."""
        self._stopped = True
        self._news.set()

    def run(self) -> None:
        """Until `stop`, or until `steps` raises: then `error` is set."""
        try:
            while not self._stopped:
                self._news.clear()
                if self._idle():
                    self._tell()  # of what the news just cleared was about, such as a close
                    self._news.wait()
                else:
                    self._steps()
                    self._tell()
        except Exception as error:
            self.error = error
            self._tell()

    def _in_thread(self) -> None:
        try:
            self.run()
        finally:
            atexit.unregister(self._join)

    def _join(self) -> None:
        self.stop()
        self._thread.join(PATIENCE)
