"""The one reader of the engine's events, and who waits for which.

The engine hands its events over in bursts, and this hands each to the inbox it belongs to before
anybody who waits gets to run. So whoever waits finds all that a burst brought, and makes one piece
of it: that is what keeps a token of 70 microseconds from costing a hundred more here. A piece that
is sent costs 200, most of it the system's, so what comes within GAP of the last one makes one piece
too, and with many answers in the making, within SHARE for each: what sending takes of a core is
bounded, however many read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rstitch.engine.request import Engine, Request, sample_ids
from rstitch.errors import SideLost
from rstitch.types import Event, Failed, Token

Arrived = list[tuple[int, Event]]
"""Events with the index of the answer, of those asked for together, that they belong to."""
GAP = 0.02
"""Seconds between two pieces, about a picture of a screen. The first and an end never wait."""
SHARE = 0.003
"""Seconds between any two pieces of all answers."""


class Inbox:
    """Answers that one HTTP request waits for. Closing it cancels those that have no end."""

    def __init__(self, loop: Loop, requests: Sequence[Request]) -> None:
        self._loop = loop
        self._arrived: Arrived = []
        self._news = asyncio.Event()
        self._due, self._ended = True, False
        """It is time for a piece; the end of an answer has come, for which it always is."""
        self._open: dict[str, int] = {}
        """Names of the answers that have no end yet."""
        try:
            for request in requests:
                name = loop.engine.submit(request)
                for sample in sample_ids(name, request.n):
                    self._open[sample] = len(self._open)
        except BaseException:
            self._cancel()
            raise
        loop.inboxes.update(dict.fromkeys(self._open, self))

    @property
    def names(self) -> list[str]:
        return list(self._open)

    async def burst(self) -> Arrived:
        """What has arrived since the last time, at least one event; empty when all have ended."""
        while not (self._arrived and (self._due or self._ended)):
            if not self._open:
                return []
            self._news.clear()
            await self._news.wait()
        arrived, self._arrived = self._arrived, []
        self._due = self._ended = False
        asyncio.get_running_loop().call_later(self._loop.gap, self._fall_due)
        return arrived

    def _fall_due(self) -> None:
        self._due = True
        if self._arrived:
            self._news.set()

    def put(self, event: Event) -> None:
        index = self._open[event.request]
        if not isinstance(event, Token):
            self._ended = True
            del self._open[event.request]
            del self._loop.inboxes[event.request]
        self._arrived.append((index, event))
        if self._due or self._ended:
            self._news.set()

    def close(self) -> None:
        """Nobody reads on: the engine's next step frees what its answers hold."""
        self._cancel()
        for name in self._open:
            self._loop.inboxes.pop(name, None)
        self._open.clear()

    def _cancel(self) -> None:
        for name in self._open:
            self._loop.engine.cancel(name)


class Loop:
    """`open` from the event loop's thread; `run` is a task for as long as the server lives."""

    def __init__(
        self, engine: Engine, on_event: Callable[[Event], None], on_lost: Callable[[], None]
    ) -> None:
        """on_event: called with each. on_lost: when an answer has ended because a side is lost."""
        self.engine = engine
        self.on_event, self.on_lost = on_event, on_lost
        self.inboxes: dict[str, Inbox] = {}

    @property
    def gap(self) -> float:
        """Seconds between two pieces of one answer."""
        return max(GAP, SHARE * len(self.inboxes))

    def open(self, requests: Sequence[Request]) -> Inbox:
        """Have these written. Raises BadRequest for what can never be."""
        return Inbox(self, requests)

    async def run(self) -> None:
        """Until the engine is closed. Where it fails, so does everything that waits for it."""
        try:
            async for event in self.engine.events():
                self._hand_over(event)
        except Exception as error:
            for name, inbox in list(self.inboxes.items()):
                inbox.put(Failed(name, error))
            raise

    def _hand_over(self, event: Event) -> None:
        self.on_event(event)
        inbox = self.inboxes.get(event.request)
        if inbox is not None:
            inbox.put(event)
        if isinstance(event, Failed) and isinstance(event.error, SideLost):
            self.on_lost()
