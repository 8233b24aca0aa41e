"""N answers in flight on two models and one device or two, event by event, without the models.

On one device the engine's own `Scheduler` decides what runs next, on a clock that the priced passes
move, so waiting is what it would be there: the table, "eager" or "fixed:6", `max_wait`. On two
devices each side runs by itself: the SLM whenever a row is there, the LLM when enough are (Markov
chain of TokenRouter, arXiv 2610.12242). A closed loop: an answer that ends makes room for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Protocol, cast

import numpy as np

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.engine.measure import ROWS
from rstitch.engine.scheduler import Scheduler
from rstitch.errors import BadRequest
from rstitch.latency.costs import Host
from rstitch.latency.pattern import Part, Pattern
from rstitch.latency.shape import CATCH_UP, Shape
from rstitch.types import Side

MAX_WAIT = EngineConfig().max_wait


class Costs(Protocol):
    """What the simulator asks of a price list: `PassCosts` or `Constant`."""

    @property
    def host(self) -> Host: ...

    def seconds(self, side: Side, shape: Shape, *, beyond: bool = False) -> float: ...

    def covers(self, side: Side, shape: Shape) -> bool: ...

    def line(self, rows: int) -> LinearCosts: ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Steps that take the same whatever they do, or so much more with every row."""

    known: LinearCosts
    host: Host = Host()

    def seconds(self, side: Side, shape: Shape, *, beyond: bool = False) -> float:
        return self.known.seconds(side, shape.rows)

    def covers(self, side: Side, shape: Shape) -> bool:
        return True

    def line(self, rows: int) -> LinearCosts:
        return self.known


@dataclass(slots=True)
class Row:
    """An answer in flight, with what the scheduler reads of a sequence."""

    id: str
    pattern: Pattern
    accepted: float
    ready_since: float = 0.0
    at: int = 0
    stalled: bool = False
    owner: str = ""
    """One for all."""

    @property
    def part(self) -> Part:
        return self.pattern.parts[self.at]

    @property
    def side(self) -> Side:
        return self.part.side

    @property
    def pinned(self) -> bool:
        return not self.pattern.stitched

    def moved(self) -> bool:
        """Take it a pass on; whether control has passed to the other side."""
        before = self.side
        self.at += 1
        return not self.ended and self.side is not before

    @property
    def ended(self) -> bool:
        return self.at == len(self.pattern.parts)


@dataclass(slots=True)
class Outcome:
    """Of the measured part: from when the first `in_flight` answers have ended."""

    in_flight: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds from accepted to the last token, of each answer that ended."""
    tokens: float = 0.0
    """Written in the measured part, by answers that had not ended too: each pass is its part of the
    answer's tokens."""
    answers: float = 0.0
    """The same of answers."""
    busy: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Seconds in which each side ran."""
    passes: int = 0
    outside: int = 0
    """Passes outside the measured grid, of all."""

    @property
    def answers_per_second(self) -> float:
        return self.answers / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def latency(self, quantile: float) -> float:
        return float(np.quantile(self.latencies, quantile))


@dataclass
class Loop:
    """The answers in flight and what is counted of them: nothing before the n-th has ended."""

    patterns: Iterator[Pattern]
    n: int
    answers: int
    outcome: Outcome
    ended: int = 0
    began: float | None = None
    asked: int = 0

    def new(self, now: float) -> Row:
        self.asked += 1
        return Row(f"s{self.asked}", next(self.patterns), now, now)

    def end(self, row: Row, now: float) -> None:
        self.ended += 1
        if self.began is not None:
            self.outcome.latencies.append(now - row.accepted)

    def moved(self, row: Row) -> bool:
        """Take a row a pass on; whether control has passed to the other side."""
        if self.began is not None:
            share = 1 / len(row.pattern.parts)
            self.outcome.answers += share
            self.outcome.tokens += share * row.pattern.tokens
        return row.moved()

    def counts(self, now: float) -> bool:
        """Whether there is more to run; the count begins when the first n have ended."""
        if self.began is None and self.ended >= self.n:
            self.began = now
        if self.began is None or self.ended < self.n + self.answers or now <= self.began:
            return True
        self.outcome.seconds = now - self.began
        return False


def simulate(
    patterns: list[Pattern],
    in_flight: int,
    costs: Costs,
    *,
    answers: int = 200,
    waiting: str = "table",
    devices: int = 1,
    max_wait: float = MAX_WAIT,
) -> Outcome:
    """So many answers, the patterns again and again in order, after `in_flight` uncounted ones.
    What ends in the same pass as the last of these is not counted either.

    waiting: as in `EngineConfig`; with two devices "eager" or "fixed:B" rows for the LLM. Raises
    BadRequest for what cannot be.
    """
    if in_flight < 1 or answers < 1 or not patterns:
        raise BadRequest(
            f"{in_flight} in flight, {answers} answers of {len(patterns)} patterns; each must be "
            "at least 1"
        )
    config = EngineConfig(max_rows=in_flight, waiting=waiting, max_wait=max_wait)
    loop = Loop(cycle(patterns), in_flight, answers, Outcome(in_flight))
    if devices == 1:
        _one(loop, costs, config)
    elif devices == 2:
        if waiting == "table":
            raise BadRequest("the waiting table is of one device; with two give eager or fixed:6")
        _two(loop, costs, config.fixed_threshold or 1)
    else:
        raise BadRequest(f"devices is {devices}; it must be 1 or 2")
    return loop.outcome


# -- one device -----------------------------------------------------------------------------------


def _one(loop: Loop, costs: Costs, config: EngineConfig) -> None:
    """As `InProcessEngine.step` goes about it."""
    now = 0.0
    scheduler = Scheduler(config, lambda: now)
    scheduler.costs.expect(costs.line(ROWS), config.max_rows)  # as an engine with a profile does
    for _ in range(loop.n):
        scheduler.add(cast(Any, loop.new(now)))
    while loop.counts(now):
        scheduler.admit()
        picked = scheduler.pick()
        assert picked is not None
        side = picked[0]
        rows = _within(cast(list[Row], picked[1]), config.max_step_tokens)
        seconds = _run(loop.outcome, costs, side, rows)
        now += seconds
        asked = [row for row in rows if row.part.whole]
        fed = sum(row.part.new for row in rows)
        left = 0
        for row in rows:
            row.ready_since = now
            left += loop.moved(row)
        if asked and fed <= CATCH_UP * len(rows):
            scheduler.observe(side, cast(Any, asked), seconds, left)
        now += costs.host.seconds(len(rows))
        for row in rows:
            if row.ended:
                scheduler.remove(cast(Any, row))
                loop.end(row, now)
                scheduler.add(cast(Any, loop.new(now)))


def _within(rows: list[Row], budget: int) -> list[Row]:
    """As many as a step may feed, who has waited longest first; one at least."""
    if sum(row.part.new for row in rows) <= budget:
        return rows
    taken: list[Row] = []
    for row in sorted(rows, key=lambda row: row.ready_since):
        budget -= row.part.new
        if budget < 0 and taken:
            break
        taken.append(row)
    return taken


def _run(outcome: Outcome, costs: Costs, side: Side, rows: list[Row]) -> float:
    shape = Shape.of((row.part.new, row.part.cached) for row in rows)
    seconds = costs.seconds(side, shape, beyond=True)
    outcome.busy[side] += seconds
    outcome.passes += 1
    outcome.outside += not costs.covers(side, shape)
    return seconds


# -- two devices ----------------------------------------------------------------------------------


def _two(loop: Loop, costs: Costs, threshold: int) -> None:
    """Both sides at once. A side that is idle takes all rows that wait for it, the LLM from
    `threshold` on (or all that are in flight, if they are fewer)."""
    now = 0.0
    least = {Side.SLM: 1, Side.LLM: min(threshold, loop.n)}
    waiting: dict[Side, list[Row]] = {side: [] for side in Side}
    running: dict[Side, tuple[float, list[Row]]] = {}

    def put(row: Row) -> None:
        waiting[row.side].append(row)

    for _ in range(loop.n):
        put(loop.new(now))
    while loop.counts(now):
        for side in Side:
            if side not in running and len(waiting[side]) >= least[side]:
                rows, waiting[side] = waiting[side], []
                seconds = _run(loop.outcome, costs, side, rows)
                running[side] = now + seconds + costs.host.seconds(len(rows)), rows
        if not running:  # pinned rows alone: nobody else will come
            least[Side.LLM] = 1
            continue
        now = min(until for until, _ in running.values())
        _finish(loop, running, now, put)


def _finish(
    loop: Loop,
    running: dict[Side, tuple[float, list[Row]]],
    now: float,
    put: Callable[[Row], None],
) -> None:
    for side in [side for side, (until, _) in running.items() if until <= now]:
        _, rows = running.pop(side)
        for row in rows:
            loop.moved(row)
            if row.ended:
                loop.end(row, now)
                row = loop.new(now)
            row.ready_since = now
            put(row)
