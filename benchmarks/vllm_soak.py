"""Is every request accounted for on vLLM, where some are cancelled and an engine is killed?

    python -m benchmarks.vllm_soak [--quick] [--save]      (in an environment with vLLM: make vllm)

2,000 requests to the built-in pair, 16 in flight, of every kind that the engine knows: stitched,
one side alone, greedy and drawn, with and without leave to go on without the LLM; every tenth is
cancelled after some tokens. At the half of them the LLM's process is killed (SIGKILL). Afterwards
each has exactly one end of a kind that it may have, nothing is in flight, the SLM's engine knows no
session and none of its KV blocks is taken.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.errors import SideLost
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.types import Failed, Finished, Sampling, Side, Token

REQUESTS, QUICK = 2_000, 100
ROWS = 16
QUEUED = 64
"""Requests that wait in the engine at most."""
SILENCE = 60.0
"""Seconds without an event after which it hangs."""
POLICIES = (make("entropy", tau=0.02), make("random", p=0.1, q=0.4), make("slm"), make("llm"))


@dataclass(slots=True)
class Sent:
    """One request, and what came of it."""

    request: Request
    cancel_after: int | None
    tokens: int = 0
    ends: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> str:
        """What is wrong with its end; empty where nothing is."""
        if len(self.ends) != 1:
            return f"{len(self.ends)} ends"
        (end,) = self.ends
        may = {"stop", "length"}
        may |= {"cancelled"} if self.cancel_after is not None else set()
        may |= {"lost"} if Side.LLM in self.request.policy.sides() else set()
        return "" if end in may else f"ended as {end!r}"


def requests(stitch: Stitch, count: int) -> list[Sent]:
    chance, sent = random.Random(1), list[Sent]()
    questions = [one.question for one in spread(problems("test"), 400)]
    for i in range(count):
        policy = POLICIES[chance.randrange(len(POLICIES))]
        prompts = stitch.prompts(questions[i % len(questions)], policy=policy)
        sampling = Sampling(temperature=chance.choice((0.0, 0.8)), seed=i)
        request = Request(
            prompts, policy, sampling, max_tokens=chance.randrange(1, 120), may_degrade=i % 2 == 0
        )
        sent.append(Sent(request, chance.randrange(60) if i % 10 == 0 else None))
    return sent


def run(stitch: Stitch, sent: list[Sent]) -> dict[str, Any]:
    """All of them, the kill included. Raises TimeoutError where nothing comes any more."""
    engine, due = stitch.engine, iter(sent)
    names: dict[str, Sent] = {}
    refused, ended, degraded, killed, heard = 0, 0, 0, False, time.monotonic()
    more = True
    while more or not engine.idle:
        while more and engine.stats()["queued"] < QUEUED and len(names) - ended < QUEUED:
            one = next(due, None)
            more = one is not None
            if one is None:
                break
            try:
                name = engine.submit(one.request)
            except SideLost:
                one.ends.append("lost")
                refused += 1
                continue
            names[name] = one
            if one.cancel_after == 0:
                engine.cancel(name)
        for event in engine.step():
            heard, one = time.monotonic(), names[event.request]
            if isinstance(event, Token):
                one.tokens += 1
                if one.tokens == one.cancel_after:
                    engine.cancel(event.request)
                continue
            ended += 1
            one.ends.append(_end(event))
            degraded += isinstance(event, Finished) and event.usage.degraded
            if ended % 100 == 0:
                progress(f"{ended} ended")
        if not killed and ended + refused >= len(sent) // 2:
            kill(stitch, Side.LLM)
            killed = True
        if time.monotonic() - heard > SILENCE:
            raise TimeoutError(f"no event for {SILENCE:g} s: {engine.stats()}")
    ends = Counter(end for one in sent for end in one.ends)
    return {"ends": dict(ends), "refused_after_loss": refused, "degraded": degraded}


def _end(event: Finished | Failed) -> str:
    if isinstance(event, Finished):
        return event.reason
    return "lost" if isinstance(event.error, SideLost) else f"failed: {event.error!r}"


def kill(stitch: Stitch, side: Side) -> None:
    for process in _processes(stitch, side):
        os.kill(process.pid, signal.SIGKILL)


def _processes(stitch: Stitch, side: Side) -> list[Any]:
    """vLLM's engine core of that side."""
    engine: Any = stitch.engine
    found: list[Any] = engine.runners[side].llm.engine_core.resources.engine_manager.processes
    return found


def left_over(stitch: Stitch, side: Side, seconds: float = 10.0) -> dict[str, Any]:
    """Sessions that vLLM's front end knows, and whether all its KV blocks are free."""
    engine: Any = stitch.engine
    llm, until, free = engine.runners[side].llm, time.monotonic() + seconds, False
    while not free and time.monotonic() < until:
        work = asyncio.run_coroutine_threadsafe(llm.reset_prefix_cache(), engine._loop)
        free = work.result(seconds)
    return {"sessions": len(llm.output_processor.request_states), "blocks_free": free}


def main() -> None:
    args = parsed(parser(__doc__, f"{QUICK} requests"))
    count = QUICK if args.quick else REQUESTS
    with rstitch.load(engine="vllm", max_rows=ROWS) as stitch:
        sent = requests(stitch, count)
        started = time.monotonic()
        found = run(stitch, sent)
        seconds = time.monotonic() - started
        found |= {"requests": count, "seconds": seconds, "left": left_over(stitch, Side.SLM)}
        found["in_flight"] = stitch.engine.stats()["active"] + stitch.engine.stats()["queued"]
    wrong = [(i, one.wrong) for i, one in enumerate(sent) if one.wrong]
    for i, what in wrong[:10]:
        say(f"request {i}: {what}")
    left = found["left"]["sessions"] or found["in_flight"] or not found["left"]["blocks_free"]
    say(f"{count} requests in {seconds:.0f} s: {found['ends']}, {found['degraded']} degraded")
    show_bars(
        {
            "every request has one end, of a kind that it may have": not wrong,
            "nothing is in flight, no session, no KV block": not left,
        }
    )
    right = 0.0 if left else 1 - len(wrong) / count
    finish("vllm_soak", right, 1.0, {**found, "wrong": len(wrong)}, args.save)


if __name__ == "__main__":
    main()
