"""Whether the loop gets on: steps that go up, or nothing to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rstitch.engine.request import Engine

LOOK = 0.25
"""Of the allowed seconds, between two looks."""


@dataclass(slots=True)
class Health:
    """Looks at the engine's count of steps from time to time, since events may be far apart."""

    engine: Engine
    seconds: float
    """Longest without a step while there is work."""
    clock: Callable[[], float] = time.monotonic
    _steps: int = -1
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._since = self.clock()

    @property
    def ok(self) -> bool:
        self.look()
        return self.clock() - self._since <= self.seconds

    def look(self) -> None:
        stats = self.engine.stats()
        busy = stats["active"] or stats["queued"]
        if stats["steps"] != self._steps or not busy:
            self._steps, self._since = stats["steps"], self.clock()

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self.seconds * LOOK)
