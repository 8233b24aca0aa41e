"""A sample of answers written again by the LLM alone, when nobody waits: how often does the pair
come to the same end? It is what tells an operator that tau, or the pair, no longer fits."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rstitch.engine.request import Request
from rstitch.errors import RStitchError
from rstitch.policy import make
from rstitch.server.choice import Choice
from rstitch.server.loop import Loop
from rstitch.server.metrics import Metrics
from rstitch.server.task import Task
from rstitch.text import Phase, ReasoningStream, boxed
from rstitch.types import Side

KEPT = 16
"""Answers that wait for a quiet moment; older ones give way."""
LOOK = 0.1
"""Seconds between two looks whether there is one."""


@dataclass(frozen=True, slots=True)
class Sample:
    request: Request
    """Of the LLM alone, with the same prompt and seed."""
    begins: Phase
    verdict: str


class Shadow:
    """`offer` answers as they end; `run` is a task for as long as the server lives."""

    def __init__(
        self,
        share: float,
        loop: Loop,
        metrics: Metrics,
        ends: Mapping[Side, frozenset[int]],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """share: of answers, 0 to 1."""
        self.share, self._loop, self._metrics, self._ends, self._draw = (
            share, loop, metrics, ends, draw
        )  # fmt: skip
        self._waiting: deque[Sample] = deque(maxlen=KEPT)
        self._news = asyncio.Event()

    def offer(self, task: Task, choices: Sequence[Choice]) -> None:
        """Both sides could write it, and it came to an end."""
        if not self.share or self._draw() >= self.share or len(task.policy.sides()) < 2:
            return
        choice, request = choices[0], task.requests[0]
        if choice.reason != "stop" or choice.usage is None or choice.usage.degraded:
            return
        alone = replace(request, policy=make("llm"), n=1, top_logprobs=0, reuse=None)
        begins = Phase.REASONING if task.thinks[0] else Phase.ANSWER
        self._waiting.append(Sample(alone, begins, verdict(choice.said)))
        self._news.set()

    async def run(self, busy: Callable[[], bool]) -> None:
        """busy: whether a client waits for anything; shadows give way at once."""
        while True:
            await self._news.wait()
            if busy():
                await asyncio.sleep(LOOK)
                continue
            sample = self._waiting.popleft()
            again = await self._again(sample, busy)
            if again is None and busy():
                self._waiting.appendleft(sample)
            elif again is not None:
                self._metrics.shadowed(float(verdict(again) == sample.verdict))
            if not self._waiting:
                self._news.clear()

    async def _again(self, sample: Sample, busy: Callable[[], bool]) -> str | None:
        """What the LLM says; None where it was cut short or failed."""
        choice = Choice(0, self._ends, ReasoningStream(sample.begins))
        try:
            inbox = self._loop.open([sample.request])
        except RStitchError:  # the LLM is lost
            return None
        try:
            while arrived := await inbox.burst():
                for _, event in arrived:
                    choice.add(event)
                if busy():
                    return None
        finally:
            inbox.close()
        return choice.said if choice.reason == "stop" else None


def verdict(text: str) -> str:
    """What is compared: the boxed answer where there is one, else all but the spaces."""
    found = boxed(text)
    return " ".join((text if found is None else found).split())
