"""Sessions and sides without vLLM: what the coordinator and its writers talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from rstitch.config import EngineConfig
from rstitch.engine.outbox import Outbox
from rstitch.engine.request import Request
from rstitch.engine.sequence import Sequence
from rstitch.policy import Policy, make
from rstitch.types import Sampling, Side
from rstitch.vllm.asked import Asked
from rstitch.vllm.coordinator import Coordinator
from rstitch.vllm.report import AT_MEMORY, AT_SIGNALS, FIXED, Layout, Report
from rstitch.vllm.side import Shape

LIMIT = 100
PROMPT = (1, 2, 3)
BOTH = make("entropy", tau=0.5)


def report(
    layout: Layout,
    next_side: Side,
    *,
    forgot: bool = False,
    token: int = 7,
    signals: float = 0.0,
) -> Report:
    """Of a kept token; the policy remembers the number 5 wherever it remembers."""
    fixed = {"token": token, "keep": 1, "next_side": int(next_side), "rows": -1 if forgot else 1}
    values = {i: float(fixed.get(name, 0)) for i, name in enumerate(FIXED)}
    values |= {AT_SIGNALS + i: signals for i in range(len(layout.signals))}
    return Report(layout, values | {AT_MEMORY + i: 5.0 for i in range(layout.memory)})


@dataclass
class Heard:
    """One turn as a session was asked for it."""

    side: Side
    tokens: list[int]
    asked: Asked
    most: int


Answers = Callable[[Heard, Layout], AsyncIterator[list[Report]]]


@dataclass
class Desk:
    """Makes the sessions of a test, and keeps what they were asked."""

    answers: Answers
    heard: list[Heard] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    full: bool = False
    """Turns end since vLLM lets them be no longer."""
    closing: asyncio.Event | None = None
    """What a session waits for while it is closed."""

    def __call__(self, llm: Side, name: str, ends: list[int]) -> _Session:
        self.opened.append(name)
        return _Session(self, llm, name)


@dataclass
class _Session:
    desk: Desk
    side: Side
    name: str
    cached: int = 0
    full: bool = False

    async def turn(
        self, tokens: list[int], asked: Asked, layout: Layout, most: int
    ) -> AsyncIterator[list[Report]]:
        heard = Heard(self.side, list(tokens), asked, most)
        self.desk.heard.append(heard)
        async for reports in self.desk.answers(heard, layout):
            yield reports
        self.full = self.desk.full

    async def close(self) -> None:
        if self.desk.closing is not None:
            await self.desk.closing.wait()
        self.desk.closed.append(self.name)


def sides() -> dict[Side, Any]:
    """`llm`, which is vLLM's engine elsewhere, says here which side a session is of."""
    shape = Shape("m", 300, 400, LIMIT, 1)
    return {
        side: SimpleNamespace(
            llm=side, shape=shape, dead=False, holds=lambda lengths: True, environment={}
        )
        for side in Side
    }


def coordinator(clock: Callable[[], float], **settings: Any) -> Coordinator:
    config = EngineConfig(engine="vllm", **settings)
    return Coordinator(sides(), dict.fromkeys(Side, frozenset()), config, Outbox(), clock)


def row(
    name: str = "r", policy: Policy = BOTH, max_tokens: int = 4, accepted: float = 0.0, **asked: Any
) -> Sequence:
    prompts = dict.fromkeys(Side, PROMPT)
    request = Request(prompts, policy, Sampling(seed=1), max_tokens=max_tokens, **asked)
    nobody, limits = dict.fromkeys(Side, None), dict.fromkeys(Side, LIMIT)
    return Sequence.begin(request, name, 1, accepted, nobody, limits, None)
