"""Events on their way from the thread that hears of them to whoever reads them."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress

from rstitch.types import Event


class Outbox:
    """Filled by one thread. Read by `take` from any, or by `stream` on an event loop; each event
    goes to one reader."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = threading.Condition()
        self._wakes: set[Callable[[], object]] = set()
        """One of each `stream`."""
        self._closed = False
        self._error: Exception | None = None

    def __len__(self) -> int:
        return len(self._events)

    def put(self, events: Iterable[Event]) -> None:
        with self._news:
            self._events.extend(events)
            self._tell()

    def close(self, error: Exception | None = None) -> None:
        """Nothing comes any more: once it is empty `stream` ends, or raises that."""
        with self._news:
            self._closed, self._error = True, error
            self._tell()

    def take(self, seconds: float) -> list[Event]:
        """Everything there is, or the first that comes within so long. Raises what it was closed
        with once there is nothing."""
        with self._news:
            if not self._events and not self._closed:
                self._news.wait(seconds)
            if self._error is not None and not self._events:
                raise self._error
            return self._taken()

    async def stream(self) -> AsyncIterator[Event]:
        """Everything that happens, until `close`. Who leaves loses nothing for the next reader."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the reader's loop is closed, and it with it
                loop.call_soon_threadsafe(ready.set)

        with self._news:
            self._wakes.add(wake)
        try:
            while True:
                ready.clear()
                while (event := self._next()) is not None:
                    yield event
                if self._closed:
                    break
                await ready.wait()
        finally:
            with self._news:
                self._wakes.discard(wake)
        if self._error is not None:
            raise self._error

    def _next(self) -> Event | None:
        with suppress(IndexError):
            return self._events.popleft()
        return None

    def _taken(self) -> list[Event]:
        events = list(self._events)
        self._events.clear()
        return events

    def _tell(self) -> None:
        self._news.notify_all()
        for wake in self._wakes:
            wake()
