"""Which LLM turns wait for each other: the in-process scheduler's rule, asked between turns.

A turn cannot be held once it runs, so the rule decides when those that wait are let go, together.
And nothing is gained by holding them longer than they may wait: the SLM's rows run in an engine of
their own, which is never theirs to have. Where that engine has cores or a device of its own too,
the LLM takes nothing from the SLM by running: who waits would only leave it idle, and all who come
during a pass share the next one anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from rstitch.engine.scheduler import Scheduler
from rstitch.engine.sequence import Sequence
from rstitch.types import Side

SOONEST = 0.001
"""Seconds after which to look again at the earliest."""
VISIBLE = "CUDA_VISIBLE_DEVICES"


def apart(device: str, environments: Collection[Mapping[str, str]]) -> bool:
    """Whether the sides, with these variables of their own, compute on different things: on a CPU
    each has a part of the cores, on GPUs the variables name different ones."""
    if device == "cpu":
        return True
    named = [set(one.get(VISIBLE, "").replace(" ", "").split(",")) - {""} for one in environments]
    return all(named) and len(set.union(*named)) == sum(map(len, named))


class Turns:
    """On the coordinator's event loop. `wait` before a turn of the LLM, `look` when rows change."""

    def __init__(self, scheduler: Scheduler, apart: bool = False) -> None:
        """apart: the sides share neither cores nor device; then a turn waits only where the number
        to wait for was asked for."""
        self.scheduler = scheduler
        self.at_once = apart and not scheduler.fixed
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, row: Sequence) -> None:
        """Until the LLM should run."""
        if self.at_once:
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting[row.id] = mine
        try:
            self.look()
            await mine
        finally:
            self._waiting.pop(row.id, None)

    def look(self) -> None:
        """Let the waiting turns go, if it is time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        left = self._left()
        picked = self.scheduler.pick() if left > 0 else None
        if picked is None or picked[0] is Side.LLM:
            self.release()
        else:
            self._timer = asyncio.get_running_loop().call_later(max(left, SOONEST), self.look)

    def release(self) -> None:
        """Let all go, whatever the rule says."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    def _left(self) -> float:
        """Seconds until the one that waits longest has waited too long; none, where a step of the
        LLM was never timed."""
        rows = [self.scheduler.active[name] for name in self._waiting]
        step = self.scheduler.costs.seconds(Side.LLM, len(rows))
        due = min(row.ready_since for row in rows) + self.scheduler.max_wait * step
        return due - self.scheduler.clock()
