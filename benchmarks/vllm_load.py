"""So many answers in flight all the time, and the tokens that come within some seconds.

A handful of answers that begin and end together would say little: short ones are half prefill,
and at their end fewer are in flight than was asked. So each is followed by another one, the first
are of all lengths, and nothing counts before `SETTLED`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.vllm_pair import Prompts
from rstitch.engine.request import Engine, Request
from rstitch.policy import Policy
from rstitch.types import Failed, Finished, Sampling, Side, Token

SETTLED = 2.0
"""Seconds after which counting begins."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for again and again."""

    prompts: list[Prompts]
    tokens: int
    """Of an answer at most."""
    rows: int
    """In flight."""
    seconds: float
    ends: tuple[int, ...] | None = None
    """Ids that end an answer early; None: nothing does."""

    def lengths(self) -> Iterable[int]:
        """Of the answers, one after the other: the first end one by one."""
        first = (-(-self.tokens * (i + 1) // self.rows) for i in range(self.rows))
        return itertools.chain(first, itertools.repeat(self.tokens))


@dataclass(slots=True)
class Window:
    """What was written from `begin` to `end`, by time.perf_counter."""

    begin: float
    end: float
    tokens: int = 0
    llm_tokens: int = 0
    answers: int = 0

    @classmethod
    def of(cls, asked: Asked) -> Window:
        begin = time.perf_counter() + SETTLED
        return cls(begin, begin + asked.seconds)

    def open(self) -> bool:
        return time.perf_counter() <= self.end

    def counts(self) -> bool:
        return self.begin <= time.perf_counter() <= self.end

    def table(self) -> dict[str, float]:
        seconds = self.end - self.begin
        share = self.llm_tokens / max(self.tokens, 1)
        return {"rate": self.tokens / seconds, "answers": self.answers / seconds, "share": share}


def stitched(engine: Engine, asked: Asked, policy: Policy) -> Window:
    """By the engine, with that policy. Raises what an answer fails with."""
    found, prompts, lengths = Window.of(asked), itertools.cycle(asked.prompts), asked.lengths()
    numbers, live = itertools.count(), set[str]()

    def begin() -> None:
        mine = {side: ids for side, ids in next(prompts).items() if side in policy.sides()}
        drawn = Sampling(seed=next(numbers))
        ignore = asked.ends is None
        live.add(
            engine.submit(Request(mine, policy, drawn, max_tokens=next(lengths), ignore_eos=ignore))
        )

    for _ in range(asked.rows):
        begin()
    while found.open():
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Token) and event.proposal.keep and found.counts():
                found.tokens += 1
                found.llm_tokens += event.proposal.side
            if isinstance(event, Finished):
                live.discard(event.request)
                found.answers += found.counts()
                begin()
    for name in live:
        engine.cancel(name)
    while not engine.idle:
        engine.step()
    return found


def plain(engine: Any, asked: Asked) -> Window:
    """By vLLM's own `generate` on the LLM's engine, without the gate."""
    work = generated(engine.runners[Side.LLM].llm, asked)
    return asyncio.run_coroutine_threadsafe(work, engine._loop).result()


async def generated(llm: Any, asked: Asked) -> Window:
    """The same of any `AsyncLLM`, on its event loop."""
    found, prompts, lengths = Window.of(asked), itertools.cycle(asked.prompts), asked.lengths()

    async def keep_asking(name: str) -> None:
        while found.open():
            ids, wanted = list(next(prompts)[Side.LLM]), _params(asked, next(lengths))
            outputs = llm.generate({"prompt_token_ids": ids}, wanted, f"{name}-{found.answers}")
            async for output in outputs:
                new = len(output.outputs[0].token_ids)
                found.tokens += new if found.counts() else 0
                if not found.open():
                    await outputs.aclose()
                    return
            found.answers += found.counts()

    stamp = time.perf_counter_ns()
    await asyncio.gather(*(keep_asking(f"plain-{stamp}-{i}") for i in range(asked.rows)))
    found.llm_tokens = found.tokens
    return found


def _params(asked: Asked, tokens: int) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        temperature=0.0, max_tokens=tokens, ignore_eos=True, stop_token_ids=list(asked.ends or ()),
        detokenize=False, output_kind=RequestOutputKind.DELTA,
    )  # fmt: skip
