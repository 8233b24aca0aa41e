"""Steps in a thread of their own, one after the other for as long as there is anything to do.

Whoever reads the events must not be waited for: to hand a burst over, be woken and come back costs
a third of the time with sixteen rows of a small model, whose weights another thread's turn has
pushed out of the core's cache meanwhile (docs/log.md).
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

PATIENCE = 5.0
"""Seconds that the end of the process waits for the step under way."""


class Pump:
    """Runs `steps` until `stop`, or until it raises; `wake` when there may be something to do."""

    def __init__(
        self, steps: Callable[[], None], idle: Callable[[], bool], tell: Callable[[], None]
    ) -> None:
        """steps: a few steps. tell: called from the thread after them, and at its end."""
        self._steps, self._idle, self._tell = steps, idle, tell
        self._news = threading.Event()
        self._stopped = False
        self.error: Exception | None = None
        """What `steps` has raised; it runs no more."""
        self._thread = threading.Thread(target=self._run, name="rstitch-steps", daemon=True)
        atexit.register(self._join)  # torch must not be computing while the interpreter goes
        self._thread.start()

    def wake(self) -> None:
        self._news.set()

    def stop(self) -> None:
        """Begin no further step. The one under way is not waited for."""
        self._stopped = True
        self._news.set()

    def _join(self) -> None:
        self._stopped = True
        self._news.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
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
        finally:
            atexit.unregister(self._join)
