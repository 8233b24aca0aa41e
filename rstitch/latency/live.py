"""Passes and steps as they are with answers in flight: what a grid of passes cannot show.

There each pass follows its like, on rows that lie side by side. In an answer it follows the other
side's, and Python's own work; rows come and go between others. So each form is raised by what such
passes take beyond it. Which answers they are does not matter: prompts are random ids, coins decide
who writes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.taken import Taken
from rstitch.errors import BadPair
from rstitch.latency.shape import Shape
from rstitch.policy import make
from rstitch.types import Failed, Finished, Sampling, Side

LEAVES, RETURNS = 0.15, 0.6
"""Coins: an SLM's run of about six tokens, an LLM's of one or two."""
PROMPT, TOKENS = (24, 96), (24, 64)
"""Of an answer, at least and at most."""
LEAST = 8
"""Steps that are taken however little time there is."""


@dataclass
class Live:
    """What was seen with `n` answers in flight, one after the other."""

    n: int
    passes: list[tuple[Side, Shape, float]] = field(default_factory=list)
    """Side, what was run, seconds."""
    rows: int = 0
    """Of all passes together."""
    outside: float = 0.0
    """Seconds of steps outside their passes."""
    _asked: int = 0
    _open: set[str] = field(default_factory=set)

    def run(self, engine: InProcessEngine, context: int, seconds: float) -> None:
        """So long, on an engine in which nothing is in flight; nothing is afterwards."""
        clock, started, steps = engine.clock, engine.clock(), 0
        engine.watch = self._saw
        try:
            for _ in range(self.n):
                self._ask(engine, context)
            while steps < LEAST or clock() - started < seconds:
                self._step(engine, context)
                steps += 1
        finally:
            engine.watch = None
            for name in self._open:
                engine.cancel(name)
            while not engine.idle:
                engine.step()
            self._open.clear()
            engine.forget()

    def _step(self, engine: InProcessEngine, context: int) -> None:
        seen, began = len(self.passes), engine.clock()
        events = engine.step()
        whole = engine.clock() - began
        self.outside += max(0.0, whole - sum(s for *_, s in self.passes[seen:]))
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
        policy = make("random", p=LEAVES, q=RETURNS)
        sampling = Sampling(seed=self._asked)
        request = Request(
            dict.fromkeys(Side, prompt), policy, sampling, max_tokens=tokens, ignore_eos=True
        )
        self._open.add(engine.submit(request))

    def _saw(self, side: Side, one: Taken) -> None:
        shape = Shape.of(
            (new, end - new) for new, end in zip(one.sizes, one.ends, strict=True) if new
        )
        self.passes.append((side, shape, one.seconds))
        self.rows += len(one.rows)
