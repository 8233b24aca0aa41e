"""What the engine adds to the forward passes of an answer.

    python -m benchmarks.overhead [--quick] [--save]

Total time over the sum of the bare forward passes that it contains (same modules, mode, rows and
KV lengths, without gate, sampling and bookkeeping), measured in turn. Twice: a random-weight pair
in the shapes of Qwen2.5-0.5B and -1.5B, bf16, hand-offs by a recorded pattern (LLM share 20 %, SLM
runs of 24 tokens on average), and the built-in pair, eager, with where its rest goes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

import rstitch
from benchmarks.bare import bare_seconds, passes_through
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.random_pair import random_runner
from rstitch.api import Stitch
from rstitch.engine import engine as engine_module
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.types import Failed, Finished, Sampling, Side, Token, Usage

GOAL_REAL, GOAL_BUILTIN = 1.03, 1.5
SLM_RUN, LLM_RUN = 24, 6
"""Tokens on average: an LLM share of 20 %."""


def write(engine: InProcessEngine, request: Request) -> tuple[float, list[int], Finished]:
    """Seconds of one answer written alone, its kept tokens and its end."""
    started = time.perf_counter()
    engine.submit(request)
    kept: list[int] = []
    while True:
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                return time.perf_counter() - started, kept, event
            if isinstance(event, Token) and event.proposal.keep:
                kept.append(event.proposal.token)


@contextmanager
def timed(engine: InProcessEngine) -> Iterator[dict[str, float]]:
    """Seconds spent in forward passes and in the gate while entered."""
    spent = {"forward": 0.0, "gate": 0.0}

    def wrap(part: str, function: Any) -> Any:
        def measured(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - started

        return measured

    read = engine_module.gate.read
    engine_module.gate.read = wrap("gate", read)
    try:
        with passes_through(engine.runners, lambda _, extend: wrap("forward", extend)):
            yield spent
    finally:
        engine_module.gate.read = read


def rounds(
    engine: InProcessEngine, requests: list[Request]
) -> tuple[list[float], list[float], Usage]:
    """Seconds of each answer, seconds of its bare passes, and the usage of all together."""
    totals, bares, usages = [], [], []
    write(engine, requests[0])
    for request in requests:
        seconds, kept, end = write(engine, request)
        totals.append(seconds)
        bares.append(bare_seconds(engine.runners, request.prompts, kept, end.forwards))
        usages.append(end.usage)
        progress(f"{seconds:.3f} s, bare {bares[-1]:.3f} s")
    summed = {
        name: sum(getattr(u, name) for u in usages)
        for name in ("prompt_tokens", "slm_tokens", "llm_tokens", "discards", "handoffs")
    }
    return totals, bares, Usage(**summed, catchup_tokens=0, seconds=sum(totals))


def real_shapes(quick: bool) -> dict[str, Any]:
    """The random-weight pair: hand-offs by coins of recorded seeds, so every run has the same."""
    progress("building 0.5B and 1.5B models with random weights")
    runners = {
        Side.SLM: random_runner("0.5b", torch.bfloat16),
        Side.LLM: random_runner("1.5b", torch.bfloat16),
    }
    engine = InProcessEngine(runners, frozenset())
    policy = make("random", p=1 / (SLM_RUN + 1), q=1 / LLM_RUN)
    prompt = tuple(range(100, 132))
    tokens, seeds = (40, (1,)) if quick else (120, (1, 2, 3))
    requests = [
        Request(dict.fromkeys(Side, prompt), policy, Sampling(seed=seed), max_tokens=tokens)
        for seed in seeds
    ]
    totals, bares, usage = rounds(engine, requests)
    ratios = [total / bare for total, bare in zip(totals, bares, strict=True)]
    return {
        "over_bare": statistics.median(ratios),
        "ratios": ratios,
        "seconds": sum(totals),
        "bare_seconds": sum(bares),
        "llm_share": usage.llm_share,
        "handoffs": usage.handoffs,
        "tokens": usage.tokens,
    }


def builtin(stitch: Stitch, quick: bool) -> dict[str, Any]:
    """The built-in pair, eager, at its own tau, and the parts of its time."""
    engine = stitch.engine
    policy = make("entropy", tau=stitch.tau)
    requests = [
        Request(stitch.prompts(p.question, policy=policy), policy, max_tokens=400)
        for p in spread(problems("test"), 10 if quick else 100)
    ]
    totals, bares, usage = rounds(engine, requests)
    with timed(engine) as spent:
        whole = sum(write(engine, request)[0] for request in requests)
    return {
        "over_bare": sum(totals) / sum(bares),
        "llm_share": usage.llm_share,
        "seconds": sum(totals),
        "bare_seconds": sum(bares),
        "parts": {
            "forward": spent["forward"] / whole,
            "gate": spent["gate"] / whole,
            "rest": 1 - sum(spent.values()) / whole,
        },
    }


def main() -> None:
    args = parsed(parser(__doc__, "few answers"))
    torch.set_num_threads(1)
    small = builtin(rstitch.load(max_rows=2), args.quick)
    parts = ", ".join(f"{name} {share:.0%}" for name, share in small["parts"].items())
    say(f"built-in pair, eager: {small['over_bare']:.3f}x the bare passes; time: {parts}")
    torch.set_num_threads(2)
    real = real_shapes(args.quick)
    say(
        f"0.5B and 1.5B shapes, bf16: {real['over_bare']:.4f}x the bare passes, "
        f"{real['tokens']} tokens, LLM share {real['llm_share']:.0%}, {real['handoffs']} hand-offs"
    )
    bars = {
        "real_shapes_1.03x": real["over_bare"] <= GOAL_REAL,
        "builtin_1.5x": small["over_bare"] <= GOAL_BUILTIN,
    }
    show_bars(bars)
    details = {"real_shapes": real, "builtin": small, "bars": bars}
    finish("overhead", real["over_bare"], GOAL_REAL, details, args.save)


if __name__ == "__main__":
    main()
