"""From the street to the engine: who it is, whether the door is open, what the key may have, and
whose turn it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rstitch.server.drain import Door
from rstitch.server.fair import FairQueue, Turn
from rstitch.server.keys import Key, Keys
from rstitch.server.quota import Lease, Quotas
from rstitch.server.task import Task


@dataclass(slots=True)
class Ticket:
    """One request that was let in."""

    lease: Lease
    turn: Turn

    @property
    def waited(self) -> float:
        return self.turn.waited

    def settle(self, tokens: int) -> None:
        """It took so many tokens, prompts and answers together."""
        self.lease.used = self.turn.used = float(tokens)


@dataclass(slots=True)
class Entry:
    door: Door
    keys: Keys
    quotas: Quotas
    queue: FairQueue

    def who(self, headers: Mapping[str, str]) -> Key:
        """Raises Refused without a key that is known here, where keys are set."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self.keys.find(given.strip() if scheme.lower() == "bearer" else None)

    @asynccontextmanager
    async def enter(self, key: Key, task: Task) -> AsyncIterator[Ticket]:
        """Wait for its turn. Raises Problem where the door is closed, Refused where there is no
        room or the key has no tokens left."""
        with self.door.enter(), self.quotas.lease(key, task.cost) as lease:
            async with self.queue.turn(key.name, task.cost, task.choices) as turn:
                yield Ticket(lease, turn)
