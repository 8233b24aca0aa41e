"""Who goes next: a bounded queue that is fair between keys, and first come first served within one.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Each key has a virtual time, which a request
moves on by its cost; the key that lies furthest behind goes first. It needs no quantum, which for
round robin would have to be as large as the largest request, and one key alone waits for nothing.
Two departures:

1. A request costs the tokens that it may take, as long as nobody knows how many it does; when it
   has ended, its key is given the rest back.
2. Rows are never taken away, so who comes late waits for one to end. Where more than one key has
   asked of late, none may hold the last eighth of the rows, so that another finds room at once.

It lets no more in than the engine has rows: what waits, waits here, and not in the engine's FIFO.
All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from rstitch.server.refusal import Refused

COMPANY = 30.0
"""Seconds for which room is kept for a key after its last request."""
FADE = 0.1
"""Weight of the newest turn in the mean length of one."""


@dataclass(slots=True, eq=False)
class Turn:
    """One request, waiting or let in."""

    key: str
    cost: float
    """Tokens that it may take."""
    rows: int
    number: int
    """In order of arrival."""
    since: float
    """Clock when it came, then when it was let in."""
    ready: asyncio.Future[None] = field(repr=False)
    waited: float = 0.0
    """Seconds in the queue."""
    used: float | None = None
    """Tokens that it took, for the caller to set; as many as it might take if left out."""


@dataclass(slots=True)
class _Line:
    """One key's."""

    waiting: deque[Turn] = field(default_factory=deque)
    rows: int = 0
    """Held by its requests that were let in."""
    virtual: float = 0.0
    """Where its next request starts."""
    seen: float = -math.inf
    """Clock when one of its requests last came or went."""


class FairQueue:
    """`async with queue.turn(key, cost) as turn` runs its body when it is the key's turn.

    rows: how many run at once. length: how many wait at most. There is one line per key that was
    ever used, so keys have to be names that somebody gave out.
    """

    def __init__(self, rows: int, length: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows, self.length, self.clock = rows, length, clock
        self.kept = max(1, rows // 8) if rows >= 4 else 0
        """Rows that no key may take where it has company."""
        self.free = rows
        self._lines: dict[str, _Line] = {}
        self._numbers = itertools.count()
        self._virtual = 0.0
        self._seconds = 1.0
        """Mean length of a turn that came to its end, weighted towards the newest."""

    @property
    def running(self) -> int:
        """Rows that are taken."""
        return self.rows - self.free

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(len(line.waiting) for line in self._lines.values())

    @property
    def retry_after(self) -> float:
        """Seconds in which those who wait now will probably have had their turn; 1 to 60."""
        return min(max(self.waiting * self._seconds / self.rows, 1.0), 60.0)

    @asynccontextmanager
    async def turn(self, key: str, cost: float, rows: int = 1) -> AsyncIterator[Turn]:
        """Wait for a turn that may take `cost` tokens on `rows` rows, and hold it.

        Raises Refused where the queue is full, before or while it waits: a key that has fewer
        requests in it takes the place of the newest of the key that has most.
        """
        turn = self._enter(key, cost, min(rows, self.rows))
        try:
            await turn.ready
        except BaseException:
            self._withdraw(turn)
            raise
        try:
            yield turn
            self._seconds += FADE * (self.clock() - turn.since - self._seconds)
        finally:
            self._end(turn)

    # -- coming and going -----------------------------------------------------------------------

    def _enter(self, key: str, cost: float, rows: int) -> Turn:
        line, now = self._lines.setdefault(key, _Line()), self.clock()
        ready = asyncio.get_running_loop().create_future()
        turn = Turn(key, cost, rows, next(self._numbers), now, ready)
        if not line.waiting:  # who was away has no claim on what went by
            line.virtual = max(line.virtual, self._virtual)
        line.waiting.append(turn)
        line.seen = now
        self._admit()
        if self.waiting > self.length:
            self._push_out(line)
        return turn

    def _push_out(self, newest: _Line) -> None:
        """One has to go: the newcomer, unless some key has more in the queue even without it."""
        longest = max(self._lines.values(), key=lambda line: len(line.waiting))
        line = longest if len(longest.waiting) > len(newest.waiting) else newest
        message = f"{self.length} requests are waiting already; try again later"
        out = line.waiting.pop()
        if not out.ready.done():
            out.ready.set_exception(Refused("queue_full", message, self.retry_after))

    def _withdraw(self, turn: Turn) -> None:
        """Its caller has gone, or it was pushed out."""
        line = self._lines[turn.key]
        if turn in line.waiting:
            line.waiting.remove(turn)
            self._admit()
        elif not turn.ready.cancelled() and turn.ready.exception() is None:
            turn.used = 0.0  # let in, and cancelled before it knew
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        line = self._lines[turn.key]
        self.free += turn.rows
        line.rows -= turn.rows
        line.seen = self.clock()
        if turn.used is not None:
            line.virtual -= turn.cost - turn.used
        self._admit()

    # -- who is next ----------------------------------------------------------------------------

    def _admit(self) -> None:
        while line := self._next():
            turn = line.waiting.popleft()
            if turn.ready.done():  # cancelled, and about to say so
                continue
            now = self.clock()
            turn.waited, turn.since = now - turn.since, now
            self.free -= turn.rows
            line.rows += turn.rows
            self._virtual = max(self._virtual, line.virtual)
            line.virtual += turn.cost
            turn.ready.set_result(None)

    def _next(self) -> _Line | None:
        """The line whose first request goes now. Nobody overtakes one that needs many rows."""
        lines = [line for line in self._lines.values() if line.waiting and self._may(line)]
        if not lines:
            return None
        line = min(lines, key=lambda line: (line.virtual, line.waiting[0].number))
        return line if line.waiting[0].rows <= self.free else None

    def _may(self, line: _Line) -> bool:
        """Whether what it holds leaves room for others, if there are any."""
        held = line.rows + line.waiting[0].rows
        return not line.rows or held <= self.rows - self.kept or not self._company(line)

    def _company(self, one: _Line) -> bool:
        others: Iterable[_Line] = (line for line in self._lines.values() if line is not one)
        since = self.clock() - COMPANY
        return any(line.rows or line.waiting or line.seen >= since for line in others)
