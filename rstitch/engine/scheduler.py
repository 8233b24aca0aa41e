"""Which rows run on which side now.

Rows that wait for the LLM wait for each other up to the threshold of the waiting table, and never
longer than a bound. The scheduler owns the waiting queue and the set of rows in flight, no KV.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rstitch.config import EngineConfig
from rstitch.costs import ObservedCosts, ObservedRates, WaitingTable
from rstitch.engine.sequence import Sequence
from rstitch.engine.turns import Turns
from rstitch.types import Side


class Scheduler:
    """`add` queues, `admit` lets in, `pick` chooses a step, `observe` learns from it."""

    def __init__(
        self, config: EngineConfig, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.max_rows = config.max_rows
        self.max_wait = config.max_wait
        self.eager = config.waiting == "eager"
        self.fixed = config.fixed_threshold
        self.clock = clock
        self.costs = ObservedCosts()
        self.rates = ObservedRates()
        self.table = WaitingTable(self.costs, self.rates)
        self.queue: deque[Sequence] = deque()
        self.active: dict[str, Sequence] = {}
        self.turns = Turns()

    def add(self, sequence: Sequence) -> None:
        self.queue.append(sequence)

    def admit(self, fits: Callable[[Sequence], bool] = lambda _: True) -> list[Sequence]:
        """Move queued sequences in while there are free rows, first come first served.

        `fits`: whether there is memory for one more.
        """
        admitted: list[Sequence] = []
        while self.queue and len(self.active) < self.max_rows and fits(self.queue[0]):
            sequence = self.queue.popleft()
            sequence.ready_since = self.clock()
            self.active[sequence.id] = sequence
            self.turns.enter(sequence.owner)
            admitted.append(sequence)
        return admitted

    def remove(self, sequence: Sequence) -> None:
        if self.active.pop(sequence.id, None) is None:
            self.queue.remove(sequence)
        else:
            self.turns.leave(sequence.owner)

    def pick(self) -> tuple[Side, list[Sequence]] | None:
        """The side to run and its rows, oldest first; None when nothing is in flight."""
        active = self._due() if self.turns.contested else self.active.values()
        if len(active) == 1:
            (only,) = active
            return only.side, [only]
        rows: dict[Side, list[Sequence]] = {side: [] for side in Side}
        for sequence in active:
            rows[sequence.side].append(sequence)
        if not rows[Side.LLM]:
            return (Side.SLM, rows[Side.SLM]) if rows[Side.SLM] else None
        side = Side.LLM if not rows[Side.SLM] else self._choose(rows)
        return side, rows[side]

    def again(self, stay: list[Sequence], leave: list[Sequence]) -> bool:
        """Whether `pick` will choose the side of `stay`, and those rows alone, once `leave` have
        gone to the other one. A guess: what happens until then may change it."""
        if self.turns.contested or (self.queue and len(self.active) < self.max_rows):
            return False
        side, known = stay[0].side, {row.id for row in (*stay, *leave)}
        others = [row for row in self.active.values() if row.id not in known]
        if any(row.side is side for row in others):
            return False
        rows = {side: stay, side.other: [*others, *leave]}
        return not rows[side.other] or self._choose(rows) is side

    def _due(self) -> list[Sequence]:
        """The rows of the owners whose turn it is. The rest wait for that, not for their side."""
        owners = self.turns.due(self.costs.seconds(Side.LLM, 1))
        due = list[Sequence]()
        for sequence in self.active.values():
            if sequence.owner in owners:
                due.append(sequence)
            else:
                sequence.ready_since = self.clock()
        return due

    def _choose(self, rows: dict[Side, list[Sequence]]) -> Side:
        slm, llm = (min([row.ready_since for row in rows[side]]) for side in Side)
        patience = self.max_wait * self.costs.seconds(Side.LLM, len(rows[Side.LLM]))
        if self.clock() - min(slm, llm) > patience:
            return Side.SLM if slm <= llm else Side.LLM
        if self.eager:
            return Side.LLM
        waiting, writing = (
            len([row for row in rows[side] if not (row.pinned or row.stalled)])
            for side in (Side.LLM, Side.SLM)
        )
        # A row waits for others only if it could be on either side, and could run.
        enough = waiting and waiting >= self._threshold(waiting + writing)
        return Side.LLM if enough else Side.SLM

    def _threshold(self, stitched: int) -> int:
        """How many of so many stitched rows have to wait before the LLM runs."""
        return min(self.fixed, stitched) if self.fixed else self.table.threshold(stitched)

    def charge(self, rows: list[Sequence], started: float) -> None:
        """A step of these rows has ended; with one owner there is nothing to share."""
        if self.turns.contested:
            owners = [row.owner for row in rows]
            self.turns.charge(owners, self.clock() - started)

    def observe(self, side: Side, rows: list[Sequence], seconds: float, left: int) -> None:
        """Learn from a step: what it cost, and how many of its stitched rows passed control on."""
        self.costs.observe(side, len(rows), seconds)
        stitched = len([row for row in rows if not row.pinned])
        if stitched:
            self.rates.observe(side, stitched, left)
