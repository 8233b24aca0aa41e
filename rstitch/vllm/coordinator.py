"""Who writes when, on vLLM: admission, turns, ends, and what is left when a side is lost.

Everything here runs on one event loop, in the engine's own thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from rstitch.config import EngineConfig
from rstitch.costs import load_profile
from rstitch.engine import faults
from rstitch.engine.outbox import Outbox
from rstitch.engine.scheduler import Scheduler
from rstitch.engine.sequence import Sequence
from rstitch.errors import SideLost
from rstitch.types import Failed, Finished, Side
from rstitch.vllm.side import VllmSide
from rstitch.vllm.turns import Turns, apart
from rstitch.vllm.writer import Writer


class Coordinator:
    """Owns the answers in flight. `add`, `cancel` and `close` are for its own loop."""

    def __init__(
        self,
        sides: Mapping[Side, VllmSide],
        ends: Mapping[Side, frozenset[int]],
        config: EngineConfig,
        outbox: Outbox,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.sides, self.ends, self.outbox, self.clock = sides, ends, outbox, clock
        self.scheduler = Scheduler(config, clock)
        if config.profile:
            self.scheduler.costs.expect(load_profile(config.profile), config.max_rows)
        own = [side.environment for side in sides.values()]
        self.turns = Turns(self.scheduler, apart(config.device, own))
        self.faults = faults.Faults()
        self.steps = 0
        """Distributions that were read so far."""
        self._tasks: dict[str, asyncio.Task[Finished]] = {}
        self._why: dict[str, Exception] = {}
        """What those are told who were ended because a side is lost."""

    def add(self, rows: list[Sequence]) -> None:
        for row in rows:
            self.scheduler.add(row)
        self._admit()

    def cancel(self, name: str) -> None:
        """An answer, or all samples of a request; unknown names are ignored."""
        for row in [row for row in self.scheduler.queue if row.is_called(name)]:
            self.scheduler.remove(row)
            self.outbox.put([row.finished("cancelled", self.clock())])
        for row in list(self.scheduler.active.values()):
            if row.is_called(name):
                self._stop(row)

    async def close(self) -> None:
        """Cancel everything, and wait until nothing is left of it."""
        for row in [*self.scheduler.queue, *self.scheduler.active.values()]:
            self.cancel(row.id)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def observe(self, row: Sequence, side: Side, rows: int, seconds: float | None) -> None:
        """Learn from a distribution that was read; seconds: of a decode step."""
        self.steps += 1
        self.faults.none(side)
        if seconds is not None:
            self.scheduler.costs.observe(side, rows, seconds)
        if not row.pinned:
            self.scheduler.rates.observe(side, 1, int(row.side is not side))

    # -- beginnings and ends --------------------------------------------------------------------

    def _admit(self) -> None:
        for row in self.scheduler.admit(self._fits):
            task = asyncio.get_running_loop().create_task(self._write(row))
            self._tasks[row.id] = task
            task.add_done_callback(partial(self._ended, row))
        self.turns.look()

    def _fits(self, newcomer: Sequence) -> bool:
        """However long they get, all have their KV: what waits for memory in vLLM could wait for
        one that waits for its turn."""
        rows = [*self.scheduler.active.values(), newcomer]
        return all(
            side.holds([_longest(row, name) for row in rows if name in row.request.prompts])
            for name, side in self.sides.items()
        )

    async def _write(self, row: Sequence) -> Finished:
        """Write on without the LLM where that is lost and the request allows it."""
        writer = Writer(self, row)
        while row.finish is None:
            try:
                await writer.write()
            except Exception as error:
                side = row.side
                if not self._lose(side, error):
                    raise
                if not faults.degrades(row.request, side):
                    raise SideLost(self.faults.lost[side]) from error
                writer.degrade()
        return row.finished(row.finish, self.clock())

    def _ended(self, row: Sequence, task: asyncio.Task[Finished]) -> None:
        """Called whatever became of the task: one that is cancelled early never starts at all."""
        end: Finished | Failed
        lost = self._why.pop(row.id, None)
        try:
            end = task.result()
        except asyncio.CancelledError:
            end = self._failed(row, lost) if lost else row.finished("cancelled", self.clock())
        except Exception as error:  # one answer's trouble is not the others'
            end = self._failed(row, error)
        del self._tasks[row.id]
        self.scheduler.remove(row)
        self.outbox.put([end])
        self._admit()

    def _stop(self, row: Sequence, told: Exception | None = None) -> None:
        """Once: a second time would interrupt it while it closes its sessions."""
        task = self._tasks[row.id]
        if task.cancelling():
            return
        if told is not None:
            self._why[row.id] = told
        task.cancel()

    def _lose(self, side: Side, error: Exception) -> bool:
        """Whether the error means that the side is lost; if it is news, whoever needs it ends."""
        if not self.sides[side].dead:
            return False
        if side not in self.faults.lost:
            self.faults.lose(side, error)
            for row in [*self.scheduler.queue, *self.scheduler.active.values()]:
                self._without(row, side)
            self.turns.release()
        return True

    def _without(self, row: Sequence, side: Side) -> None:
        if side not in row.request.policy.sides() or faults.degrades(row.request, side):
            return  # the latter goes on alone when it comes to that
        told = SideLost(self.faults.lost[side])
        if row.id in self._tasks:
            if self._tasks[row.id] is not asyncio.current_task():
                self._stop(row, told)
            return
        self.scheduler.remove(row)
        self.outbox.put([self._failed(row, told)])

    def _failed(self, row: Sequence, error: Exception) -> Failed:
        return Failed(row.id, error, tuple(row.forwards))


def _longest(row: Sequence, side: Side) -> int:
    return len(row.request.prompts[side]) + row.most
