"""Passes and steps as they are with answers in flight: what a grid of passes cannot show.

There each pass follows its like, on rows that lie side by side. In an answer it follows the other
side's, and Python's own work; rows come and go between others. So each form is raised by what such
passes take beyond it. Which answers they are does not matter: prompts are random ids, and who
writes next is scattered as coins would have it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.taken import Taken
from rstitch.errors import BadPair
from rstitch.latency.shape import Shape
from rstitch.policy.base import Decision, Policy, RowSignals, Signals, hand_off, handed_off
from rstitch.types import Event, Failed, Finished, Sampling, Side

LEAVES, RETURNS = 0.15, 0.6
"""How often: an SLM's run of about six tokens, an LLM's of one or two."""
GOLDEN, PLASTIC = 0.6180339887, 0.7548776662
"""Multiples of a number like these lie evenly in 0 to 1; two of them, or an LLM that is asked where
the SLM left would always hand back at once."""
PROMPT, TOKENS = (24, 96), (24, 64)
"""Of an answer, at least and at most."""
LEAST = 8
"""Steps that are taken however little time there is."""


@dataclass(frozen=True, slots=True)
class Scattered(Policy):
    """Hand-offs as often as coins would have them, at the price of the entropy rule: a coin of the
    policy "random" takes as long as a row's part of a small model's pass."""

    name: ClassVar[str] = "scattered"
    reads: ClassVar[tuple[str, ...]] = ("context",)

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        if seen.side is Side.SLM:
            return handed_off(seen.side, seen.context * GOLDEN % 1 < LEAVES)
        return handed_off(seen.side, seen.context * PLASTIC % 1 >= RETURNS)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        context = signals.context.double()
        leaves, returns = context * GOLDEN % 1 < LEAVES, context * PLASTIC % 1 < RETURNS
        return hand_off(signals, leaves, returns, state)


@dataclass
class Live:
    """What was seen with `n` answers in flight, one after the other."""

    n: int
    seen: list[tuple[Side, Sequence[int], Sequence[int], float]] = field(default_factory=list)
    """Of each pass its side, what each row fed and had then, and seconds."""
    outside: float = 0.0
    """Seconds of steps outside their passes."""
    _asked: int = 0
    _open: set[str] = field(default_factory=set)

    def run(self, engine: InProcessEngine, context: int, seconds: float) -> None:
        """So long, on an engine in which nothing is in flight; nothing is afterwards, and the
        waiting table knows nothing of it."""
        try:
            for _ in range(self.n):
                self._ask(engine, context)
            self._take(engine.step(), engine, context)  # who must measure first what waiting costs
            with _unlearnt(engine), self._watching(engine):
                started, steps = engine.clock(), 0
                while steps < LEAST or engine.clock() - started < seconds:
                    self._step(engine, context)
                    steps += 1
        finally:
            for name in self._open:
                engine.cancel(name)
            while not engine.idle:
                engine.step()
            self._open.clear()
            engine.forget()

    def passes(self) -> Iterator[tuple[Side, Shape, float]]:
        """Side, what was run, seconds."""
        for side, sizes, ends, seconds in self.seen:
            pairs = zip(sizes, ends, strict=True)
            yield side, Shape.of((new, end - new) for new, end in pairs), seconds

    @property
    def rows(self) -> float:
        """Of a pass, on average."""
        return sum(len(sizes) for _, sizes, *_ in self.seen) / len(self.seen)

    @contextmanager
    def _watching(self, engine: InProcessEngine) -> Iterator[None]:
        def saw(side: Side, one: Taken) -> None:
            self.seen.append((side, one.sizes, one.ends, one.seconds))

        engine.loop.watch = saw
        try:
            yield
        finally:
            engine.loop.watch = None

    def _step(self, engine: InProcessEngine, context: int) -> None:
        before, began = len(self.seen), engine.clock()
        events = engine.step()
        whole = engine.clock() - began
        self.outside += max(0.0, whole - sum(s for *_, s in self.seen[before:]))
        self._take(events, engine, context)

    def _take(self, events: list[Event], engine: InProcessEngine, context: int) -> None:
        for event in events:
            if isinstance(event, Failed) and not isinstance(event.error, BadPair):
                raise event.error
            if isinstance(event, Failed | Finished):  # random text may name what one side lacks
                self._open.discard(event.request)
                self._ask(engine, context)

    def _ask(self, engine: InProcessEngine, context: int) -> None:
        """The next answer."""
        self._asked += 1
        draw = random.Random(self._asked)
        most = max(1, min(TOKENS[1], context // 3))
        tokens = draw.randint(min(TOKENS[0], most), most)
        length = min(draw.randint(*PROMPT), max(1, context - tokens - 1))
        ids = min(runner.vocab_size for runner in engine.runners.values())
        prompt = tuple(draw.randrange(ids) for _ in range(length))
        rule, sampling, prompts = Scattered(), Sampling(seed=0), dict.fromkeys(Side, prompt)
        request = Request(prompts, rule, sampling, max_tokens=tokens, ignore_eos=True)
        self._open.add(engine.submit(request))


@contextmanager
def _unlearnt(engine: InProcessEngine) -> Iterator[None]:
    """What the scheduler has learnt of costs and rates is afterwards what it was before."""
    learnt: list[Any] = [engine.scheduler.costs, engine.scheduler.rates]
    before = deepcopy(learnt)
    try:
        yield
    finally:
        for one, kept in zip(learnt, before, strict=True):
            for each in fields(one):
                setattr(one, each.name, getattr(kept, each.name))
