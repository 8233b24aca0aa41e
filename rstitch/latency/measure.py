"""Measure passes of both sides over a grid and in flight, in rounds: other work goes in between.

A machine drifts: its clock, its neighbours. So every round visits the whole grid, the sides take
turns, and what is compared with the outcome (`check`) is run between the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean, median

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.runner import Row
from rstitch.errors import BadRequest
from rstitch.latency import grid, host
from rstitch.latency.bench import Bench
from rstitch.latency.costs import PassCosts
from rstitch.latency.forms import OUTLIER, Kind, fitted, kind_of, raised
from rstitch.latency.grid import Point, Room
from rstitch.latency.live import Live
from rstitch.latency.shape import Shape
from rstitch.types import Side

TIMED = 3
RUN = {Side.SLM: 6, Side.LLM: 2}
"""Decode steps that a side takes one after the other in an answer, about; so many of a point count
at least. The first of a run, which finds neither weights nor code in the caches, is left to what
is seen in flight."""
WARM, WARM_SECONDS = 16, 1.0
"""Passes of each number of tokens (by powers of two) before the first that counts: the engine tries
there how many threads are best. They are cut short where they take long."""
LIVE, LIVE_SECONDS = 0.3, 2.0
"""Part of the time for answers in flight, and the most of it for one number of them in a round."""
Tell = Callable[[str, int, int], None]
"""(what is going on, how many of it are done, of how many)."""


def quiet(what: str, done: int, total: int) -> None:
    pass


@dataclass
class Measuring:
    """What was measured so far: seconds of every pass, by side and point."""

    engine: InProcessEngine
    rows: int
    context: int
    budget: float = float("inf")
    """Seconds for all rounds, about; what does not fit is left out, but for the grid's core."""
    rounds: int = 3
    timed: int = TIMED
    """Passes of a point in a round that count, `RUN` of decode steps at least; one before them does
    not."""
    seen: dict[tuple[Side, Point], list[float]] = field(default_factory=dict)
    left_out: list[Point] = field(default_factory=list)
    lives: list[Live] = field(init=False)
    """With few and with many answers in flight."""
    _warm: set[tuple[Side, int]] = field(default_factory=set)
    _warming: float = 0.0
    """Seconds of this round that went into it; they are not of the budget."""
    _points: list[Point] = field(init=False)
    _core: int = field(init=False)

    def __post_init__(self) -> None:
        config, limits = self.engine.config, self.engine.rows.limits
        context = min(self.context, *(limits[side] for side in self.engine.runners))
        if context < 4:
            raise BadRequest(f"a context of {context} tokens is too little to measure; give 4")
        self.context, self.rows = context, min(self.rows, config.max_rows)
        room = Room(context, self.rows, config.max_step_tokens)
        self._points, self._core = grid.points(room), len(grid.core(room))
        self.lives = [Live(n) for n in sorted({1, *(self.rows // part or 1 for part in (4, 2, 1))})]

    def round(self, tell: Tell = quiet) -> None:
        """All points once more. Leaves no row open, whatever happens."""
        started, done, first = time.perf_counter(), 0, not self.seen
        self._warming = 0.0
        for rows, points in groupby(list(self._points), key=lambda point: point.rows):
            with Bench(self.engine) as bench:
                for point in self._at(bench, rows, points):
                    done += 1
                    tell("measuring passes", done, len(self._points))
                    spent = time.perf_counter() - started - self._warming
                    late = spent > (1 - LIVE) * self.budget / self.rounds
                    if first and late and done >= self._core:
                        self._cut(point)
                        break
                else:
                    continue
            break
        for live in self.lives:
            tell("answers in flight", live.n, self.rows)
            part = min(LIVE_SECONDS, LIVE * self.budget / self.rounds / len(self.lives))
            live.run(self.engine, self.context, part)

    def costs(self) -> PassCosts:
        """The fit of what was measured. Raises BadRequest where that is too little."""
        forms = {}
        for side in Side:
            forms[side] = fitted(
                (point.shape, typical(seconds))
                for (at, point), seconds in self.seen.items()
                if at is side
            )
            if not forms[side]:
                raise BadRequest(f"too few passes of the {side.name} were measured; give more time")
            forms[side] = {
                kind: raised(form, self._live(side, kind)) for kind, form in forms[side].items()
            }
        return PassCosts(forms, host.fitted(self.lives))

    def _live(self, side: Side, kind: Kind) -> list[tuple[Shape, float]]:
        every = (one for live in self.lives for one in live.passes())
        return [(shape, s) for at, shape, s in every if at is side and kind_of(shape) == kind]

    def table(self) -> list[tuple[str, int, int, int, float, int]]:
        """(side, rows, new, cached, seconds, passes) of every point."""
        return [
            (side.label, point.rows, point.new, point.cached, typical(seconds), len(seconds))
            for (side, point), seconds in self.seen.items()
        ]

    def _at(self, bench: Bench, rows: int, points: Iterable[Point]) -> Iterator[Point]:
        opened: dict[Side, list[Row]] = {}
        for point in points:
            for side in self.engine.runners:
                if side not in opened:
                    if not bench.fits(side, rows, point.cached + point.new):
                        continue
                    opened[side] = bench.rows(side, rows)
            self._measure(bench, opened, point)
            yield point

    def _measure(self, bench: Bench, opened: dict[Side, list[Row]], point: Point) -> None:
        able = {
            side: rows
            for side, rows in opened.items()
            if bench.fits(side, point.rows, point.cached + point.new)
        }
        for side, rows in able.items():
            bench.grow(side, rows, point.contexts)
            self._warm_up(bench, side, rows, point)
        for side, turn in _order(list(able), point.new, self.timed):
            seconds = bench.seconds(side, able[side], point.widths)
            bench.grow(side, able[side], point.contexts)
            if turn:
                self.seen.setdefault((side, point), []).append(seconds)

    def _warm_up(self, bench: Bench, side: Side, rows: list[Row], point: Point) -> None:
        size = side, point.shape.tokens.bit_length()
        started = time.perf_counter()
        for _ in range(0 if size in self._warm else WARM):
            bench.seconds(side, rows, point.widths)
            bench.grow(side, rows, point.contexts)
            if time.perf_counter() - started > WARM_SECONDS:
                break
        self._warm.add(size)
        self._warming += time.perf_counter() - started

    def _cut(self, last: Point) -> None:
        at = self._points.index(last) + 1
        self._points, self.left_out = self._points[:at], self._points[at:]


def _order(sides: list[Side], new: int, timed: int) -> list[tuple[Side, int]]:
    """(side, turn): a decode step follows one of its own side, a catch-up or prefill one of the
    other, whose weights have then pushed its own out of the caches."""
    if new == 1:
        return [(side, turn) for side in sides for turn in range(1 + max(timed, RUN[side]))]
    return [(side, turn) for turn in range(1 + timed) for side in sides]


def typical(seconds: list[float]) -> float:
    """Their mean, in which none counts for more than some medians."""
    bound = OUTLIER * median(seconds)
    return fmean(min(one, bound) for one in seconds)
