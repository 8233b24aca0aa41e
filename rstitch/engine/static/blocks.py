"""Blocks of steps for one side: a few tokens of many rows between two looks of the host.

A row that is handed over, or ends, rests for what is left of its block. Where the rows that stay
are to be run next, their next block is launched before the host takes in what the last one brought,
so that bookkeeping and device work at the same time and the host is one block late; where the other
side is due, nothing is launched, so it waits for no step that it does not need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import lru_cache

import torch

from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.paged.pages import OutOfPages
from rstitch.engine.runner import Extend, Runner
from rstitch.engine.sequence import Sequence
from rstitch.engine.static import step
from rstitch.engine.static.graphs import Graphs
from rstitch.engine.static.launched import Launched, Seen
from rstitch.engine.static.lines import MOST, Line, Lines
from rstitch.engine.static.step import Asked, Model, Step
from rstitch.engine.taken import Taken
from rstitch.engine.torch_runner import TorchRunner
from rstitch.policy.entropy import EntropyThreshold
from rstitch.types import Side

ROWS = (1, 2, 4, 8, 16, 32, 64)
WIDTHS = (1, 2, 4, 8, 16, 32, 64)
PLACES = 128
"""Rows x width of a step at most: up to there reading the weights takes longer than the products;
past it places without a token cost time, and a ragged pass has none."""
LOOK = 30e-6
"""Seconds that the device waits while the host looks and launches; a guess, not measured."""

served = lru_cache(maxsize=256)(step.serves)
Again = Callable[[list[Sequence], list[Sequence]], bool]
"""Whether the next step is of the first rows alone, once the second have gone to the other side."""


@dataclass(slots=True)
class Watch:
    """One per device, whose sides run one after the other."""

    read: float = -math.inf
    """Clock seconds at which the last block was seen to be over: the next one began then at the
    earliest, however early it was launched."""


class Blocks:
    """Owns the buffers and graphs of one side."""

    def __init__(
        self,
        runner: TorchRunner,
        side: Side,
        ends: frozenset[int],
        graphs: bool = True,
        clock: Callable[[], float] = time.perf_counter,
        watch: Watch | None = None,
    ) -> None:
        assert isinstance(runner.kv, PagedKV)
        self.watch = watch or Watch()
        self.runner, self.kv, self.side, self.clock = runner, runner.kv, side, clock
        found = torch.tensor(sorted(ends), dtype=torch.int64, device=runner.device)
        self.model = Model(side, runner.forward, runner.kv, runner.vocab_size, found)
        self.graphs = Graphs(runner.device, graphs)
        self.steps: int | None = None
        """Steps of a block where somebody fixed it; else they follow from how often rows leave."""
        self._moves = self.kv.moves
        self._lines: dict[int, Lines] = {}
        self._ahead: Launched | None = None

    def serves(self, rows: Many[Sequence], fed: Many[Extend]) -> bool:
        """Whether these rows' next step can be one of fixed shape."""
        width = max(len(item.tokens) for item in fed)
        if len(rows) > ROWS[-1] or width > WIDTHS[-1]:
            return False
        if _bucket(ROWS, len(rows)) * _bucket(WIDTHS, width) > PLACES:
            return False
        if not served(rows[0].request.policy):
            return False
        return all(
            _alike(row, rows[0]) and self._plain(row, item)
            for row, item in zip(rows, fed, strict=True)
        )

    def read(
        self, rows: list[Sequence], fed: Many[Extend], leaving: float, step: float, again: Again
    ) -> Iterator[Taken]:
        """Run a block; its passes, one by one, each with its tokens cached.

        leaving: probability that a row's step passes control on. step: seconds that it takes, 0 if
        not known.
        """
        block, self._ahead = self._ahead, None
        steps = self.steps or _steps(leaving, step)
        if block is None or not self._continues(block, rows, fed):
            block = self._launch(rows, fed, steps)
        seen = block.lines.seen(block.steps)
        now = self.clock()
        seconds = (now - max(block.at, self.watch.read)) / block.steps
        self.watch.read = now
        stay, leave = block.parted(seen)
        if stay and len(stay) + len(leave) == len(block.rows) and again(stay, leave):
            for name, end in zip(block.names, block.ends(seen), strict=True):
                self.kv.length[self.kv.slot_of[name]] = end  # no page just written to is cut off
            self._ahead = self._chain(block.of(stay), seen, steps)
        return block.passes(self.kv, seen, seconds)

    @torch.inference_mode()
    def seconds(self, rows: int, repeats: int = 3) -> float:
        """Of a step that decodes so many rows, whose contexts are short. No block is under way."""
        self._ahead = None
        lines = self._lines_for(rows)
        step = self._step(lines, 1, Asked(EntropyThreshold(0.5), 1, False))
        lines.fill([Line(active=True, left=repeats + 2)] * min(rows, lines.rows))
        step()
        lines.send(1)
        lines.seen(1)
        started = self.clock()
        for _ in range(repeats):
            step()
        lines.send(1)
        lines.seen(1)
        lines.rest()
        return (self.clock() - started) / repeats

    # -- what is asked --------------------------------------------------------------------------

    def _plain(self, row: Sequence, item: Extend) -> bool:
        asked = row.request
        whole = self.runner.cached(item.row) + len(item.tokens) == row.length(self.side)
        return whole and not (row.span or asked.sampling.shifts or asked.top_logprobs)

    def _continues(self, block: Launched, rows: list[Sequence], fed: Many[Extend]) -> bool:
        """Whether the block that was launched ahead is what is asked for now."""
        return (
            block.changes == self.kv.changes
            and [row.id for row in block.rows] == [row.id for row in rows]
            and block.starts == [self.runner.cached(item.row) for item in fed]
            and [[token] for token in block.tokens] == [list(item.tokens) for item in fed]
        )

    # -- running --------------------------------------------------------------------------------

    @torch.inference_mode()
    def _launch(self, rows: list[Sequence], fed: Many[Extend], steps: int) -> Launched:
        slots = [self.kv.slot_of[item.row] for item in fed]
        starts, counts = [self.kv.length[s] for s in slots], [len(item.tokens) for item in fed]
        steps = self._reserve(slots, counts, steps)
        lines = self._lines_for(len(rows))
        hot = any(row.request.sampling.temperature > 0 for row in rows)
        policy = rows[0].request.policy
        asked = Asked(policy, len(rows[0].state), hot)
        width = _bucket(WIDTHS, max(counts))
        first = self._step(lines, width, asked)
        more = self._step(lines, 1, asked) if steps > 1 else first
        at = self.clock()
        lines.fill(
            [
                self._line(row, item, start, slot)
                for row, item, start, slot in zip(rows, fed, starts, slots, strict=True)
            ],
            width,
        )
        first()
        for _ in range(steps - 1):
            more()
        lines.send(steps)
        names, last = [item.row for item in fed], [item.tokens[-1] for item in fed]
        places = list(range(len(rows)))
        return Launched(
            self.side, rows, names, places, starts, counts, last, lines, asked, steps, at,
            self.kv.changes,
        )  # fmt: skip

    @torch.inference_mode()
    def _chain(self, block: Launched, seen: Seen, steps: int) -> Launched | None:
        """The next block of the same rows, all of which stay; None where there is no memory for it,
        or where a smaller step has room for them."""
        kv, lines = self.kv, block.lines
        if _bucket(ROWS, len(block.rows)) != lines.rows:
            return None
        slots = [kv.slot_of[name] for name in block.names]
        try:
            self._grow(slots, [steps] * len(slots))
        except OutOfPages:
            return None
        known = self._key(lines, 1, block.asked) in self.graphs
        step = self._step(lines, 1, block.asked)
        if not known:  # the lines were disturbed: the next block fills them again
            return None
        tables = dict(zip(block.places, (kv.pages.tables[slot] for slot in slots), strict=True))
        lines.lay([tables.get(place, []) for place in range(lines.rows)])
        lines.at.zero_()
        at = self.clock()
        for _ in range(steps):
            step()
        lines.send(steps)
        return block.next(seen, steps, at, kv.changes)

    def _step(self, lines: Lines, width: int, asked: Asked) -> Callable[[], None]:
        """The step's replay. Made for the first time it disturbs the lines."""
        key = self._key(lines, width, asked)
        return self.graphs.get(key, lambda: Step(self.model, lines, width, asked), lines.rest)

    def _key(self, lines: Lines, width: int, asked: Asked) -> Hashable:
        """A captured step has the weights of the network that scored when it was made."""
        policy, kind = asked.policy, list[Hashable]()
        if "score" in policy.reads:
            kind = [policy, getattr(policy, "network", None)]
        return lines.rows, width, type(policy), *kind, asked.memory, asked.hot

    def _lines_for(self, rows: int) -> Lines:
        if self._moves != self.kv.moves:  # graphs and tables speak of what is there no more
            self.graphs.clear()
            self._lines.clear()
            self._moves = self.kv.moves
        size = _bucket(ROWS, rows)
        if size not in self._lines:
            pages = self.kv.pages.needed(self.kv.max_length)
            self._lines[size] = Lines(size, WIDTHS[-1], pages, self.runner.device)
        return self._lines[size]

    def _line(self, row: Sequence, item: Extend, start: int, slot: int) -> Line:
        settings, asked = row.request.sampling, row.request
        return Line(
            tokens=item.tokens,
            active=True,
            start=start,
            place=len(row.tokens),
            left=row.most - len(row.tokens),
            seed=row.seed,
            stops=not asked.ignore_eos,
            temperature=settings.temperature,
            top_k=settings.top_k or self.runner.vocab_size,
            top_p=settings.top_p,
            min_p=settings.min_p,
            state=row.state,
            pages=self.kv.pages.tables[slot],
        )

    def _reserve(self, slots: list[int], counts: list[int], steps: int) -> int:
        """Take pages for a block, of a single step where there are no more. Returns its steps."""
        try:
            self._grow(slots, [count + steps - 1 for count in counts])
        except OutOfPages:
            steps = 1
            self._grow(slots, counts)
        return steps

    def _grow(self, slots: list[int], counts: list[int]) -> None:
        """A row that ends earlier needs none past the longest that a row may be."""
        kv = self.kv
        most = [min(n, kv.max_length - kv.length[s]) for s, n in zip(slots, counts, strict=True)]
        kv.grow(len(kv.length), list(zip(slots, most, strict=True)))


def blocks_of(
    runners: Mapping[Side, Runner],
    ends: Mapping[Side, frozenset[int]],
    clock: Callable[[], float],
) -> dict[Side, Blocks]:
    """For the sides whose runners have memory that never moves, and are to be run so."""
    watch = Watch()
    return {
        side: Blocks(runner, side, ends[side], clock=clock, watch=watch)
        for side, runner in runners.items()
        if isinstance(runner, TorchRunner) and runner.static
    }


def _bucket(sizes: tuple[int, ...], n: int) -> int:
    return next(size for size in sizes if size >= n)


def _alike(row: Sequence, other: Sequence) -> bool:
    """One step can ask both policies: they are of a kind, or the same where hidden states count."""
    mine, theirs = row.request.policy, other.request.policy
    if "score" in mine.reads:
        return mine == theirs
    return type(mine) is type(theirs) and len(row.state) == len(other.state)


def _steps(leaving: float, step: float) -> int:
    """Steps of a block: with k of them a row that leaves rests for (k - 1) / 2 on average, and a
    look costs a k-th. The sum is least at sqrt(2 look / (leaving step)); powers of two."""
    best = math.sqrt(2 * LOOK / (max(leaving, 1e-4) * step)) if step > 0 else 1.0
    return 1 << (min(MOST, max(1, int(best))).bit_length() - 1)
