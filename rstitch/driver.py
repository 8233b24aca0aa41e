"""The engine, driven by whoever reads: a thread that wants its next event runs steps until it is
there, and leaves what is others' in their inboxes.

So one thread runs the engine at a time, and a stream that nobody reads costs no steps of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rstitch.engine.engine import BURST
from rstitch.engine.request import Engine, Request, samples
from rstitch.interrupt import held_interrupt
from rstitch.types import Event, Token


class Driver:
    """Everything may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inboxes: dict[str, deque[Event]] = {}
        """Of answers whose end has not been read."""
        self._running = threading.Lock()
        self._waiting: deque[None] = deque()
        """One for each thread that waits for `_running`."""

    def open(self, request: Request) -> list[tuple[str, int]]:
        """Submit it; name and seed of each of its samples. Raises what `submit` does."""
        with self.turn():
            opened = samples(request, self.engine.submit(request))
            self.inboxes.update((name, deque()) for name, _ in opened)
            return opened

    def next(self, name: str, burst: float | None = None) -> Event:
        """The next event of that sample, running the engine as needed; its last one only once.

        burst: seconds of quick steps that are taken at once, `BURST` by default.
        """
        inbox = self.inboxes[name]
        while not inbox:
            with self.turn():
                if not inbox:
                    if self.engine.idle:
                        raise RuntimeError(f"the engine knows nothing of {name}, which has no end")
                    self._run(BURST if burst is None else burst)
        event = inbox.popleft()
        if not isinstance(event, Token):
            self.inboxes.pop(name, None)
        return event

    def cancel(self, name: str) -> None:
        """The next step ends it; its end is still to be read."""
        self.engine.cancel(name)

    def abandon(self, name: str) -> None:
        """A sample that nobody can read any more: the next step cancels it."""
        if self.inboxes.pop(name, None) is not None:
            self.engine.cancel(name)

    def close(self) -> None:
        """Cancel what is in flight, and close the engine. What is in inboxes can still be read."""
        with self.turn():
            for name in list(self.inboxes):
                self.engine.cancel(name)
            while not self.engine.idle:
                self._run(BURST)
            self.engine.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The engine for one thread, and no Ctrl-C in the middle; whoever waits for it ends the
        other's burst."""
        with held_interrupt():
            self._waiting.append(None)
            with self._running:
                self._waiting.pop()
                yield

    def _run(self, burst: float) -> None:
        """A step, and more while they are quick: what goes with each is dearer than a small one."""
        until = time.perf_counter() + burst
        while True:
            for event in self.engine.step():
                inbox = self.inboxes.get(event.request)  # an abandoned one has none
                if inbox is not None:
                    inbox.append(event)
            if self._waiting or time.perf_counter() > until or self.engine.idle:
                return
