"""What a server is in: warming up, serving, draining. It ends when what it has begun is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rstitch.server.errors import SHUTTING_DOWN, WARMING
from rstitch.server.refusal import Refused


@dataclass(slots=True)
class Door:
    """Lets requests in while it is open, and counts them until they are out."""

    seconds: float
    """What is inside gets when it closes."""
    warm: bool = False
    draining: bool = False
    lost: str = ""
    """The side that is lost, in words; empty while both are there."""
    inside: int = 0
    _empty: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def closed(self) -> str:
        """Why it is closed; empty while it is open. Warming up is no reason to refuse."""
        if self.draining:
            return SHUTTING_DOWN
        return self.lost

    @property
    def not_ready(self) -> str:
        return self.closed or ("" if self.warm else WARMING)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Raises Refused where it is closed."""
        if self.closed:
            raise Refused("draining", self.closed, self.seconds)
        self.inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self.inside -= 1
            if not self.inside:
                self._empty.set()

    async def drain(self) -> bool:
        """Close it, and wait for those inside, no longer than `seconds`: whether all got out."""
        self.draining = True
        if not self.inside:
            return True
        try:
            await asyncio.wait_for(self._empty.wait(), self.seconds)
        except TimeoutError:
            return False
        return True
