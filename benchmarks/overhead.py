"""What the engine adds to the forward passes of an answer.

    python -m benchmarks.overhead [--quick] [--save]

Total time over the sum of the bare forward passes that it contains (same modules, mode, rows and
KV lengths, without gate, sampling and bookkeeping). The two take turns pass by pass, because this
kind of machine changes its speed by more than what is measured within one answer. Twice: a
random-weight pair in the shapes of Qwen2.5-0.5B and -1.5B, bf16, hand-offs by a recorded pattern
(LLM share 20 %, SLM runs of 24 tokens on average), and the built-in pair, eager, with where its
rest goes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

import rstitch
from benchmarks.bare import Twins, passes_through, twins_of
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.random_pair import random_runner
from rstitch.api import Stitch
from rstitch.engine import gate
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.evals.statistics import ratio_interval
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.types import Failed, Finished, Sampling, Side, Usage

GOAL_REAL, GOAL_BUILTIN = 1.03, 1.5
SLM_RUN, LLM_RUN = 24, 6
"""Tokens on average: an LLM share of 20 %."""
NO_USAGE = Usage(0, 0, 0, 0, 0, 0, 0.0)


@dataclass(slots=True)
class Answer:
    """One answer written alone, step by step, each step followed by its bare pass."""

    steps: list[float]
    """Seconds."""
    bare: list[float]
    usage: Usage


def write(engine: InProcessEngine, request: Request, twins: Twins | None = None) -> Answer:
    """Without `twins`, nothing bare is run in between."""
    answer = Answer([], [], NO_USAGE)
    started = time.perf_counter()
    engine.submit(request)
    while answer.usage is NO_USAGE:
        events = engine.step()
        answer.steps.append(time.perf_counter() - started)
        if twins:
            answer.bare.append(twins.seconds())
        started = time.perf_counter()
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                answer.usage = event.usage
    return answer


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

    read = gate.read
    gate.read = wrap("gate", read)
    try:
        with passes_through(engine.runners, lambda _, extend: wrap("forward", extend)):
            yield spent
    finally:
        gate.read = read


def rounds(engine: InProcessEngine, requests: list[Request]) -> list[Answer]:
    """The requests one after the other; the first also once before, to warm up."""
    answers = []
    with twins_of(engine.runners) as twins:
        for request in [requests[0], *requests]:
            answers.append(write(engine, request, twins))
            twins.end()
            progress(f"{sum(answers[-1].steps):.3f} s, bare {sum(answers[-1].bare):.3f} s")
    return answers[1:]


def summary(answers: list[Answer]) -> dict[str, Any]:
    """The ratio of sums with a bootstrap interval over passes, and what was written."""
    steps = [seconds for answer in answers for seconds in answer.steps]
    bare = [seconds for answer in answers for seconds in answer.bare]
    ratio, low, high = ratio_interval(steps, bare)
    llm = sum(answer.usage.llm_tokens for answer in answers)
    tokens = sum(answer.usage.tokens for answer in answers)
    return {
        "over_bare": ratio,
        "interval": [low, high],
        "median_of_passes": statistics.median(a / b for a, b in zip(steps, bare, strict=True)),
        "passes": len(steps),
        "seconds": sum(steps),
        "bare_seconds": sum(bare),
        "llm_share": llm / tokens,
        "handoffs": sum(answer.usage.handoffs for answer in answers),
        "tokens": tokens,
    }


def real_shapes(quick: bool) -> dict[str, Any]:
    """The random-weight pair: hand-offs by coins of recorded seeds, so every run has the same."""
    progress("building 0.5B and 1.5B models with random weights")
    runners = {
        Side.SLM: random_runner("0.5b", torch.bfloat16, max_rows=2),
        Side.LLM: random_runner("1.5b", torch.bfloat16, max_rows=2),
    }
    engine = InProcessEngine(runners, frozenset())
    policy = make("random", p=1 / (SLM_RUN + 1), q=1 / LLM_RUN)
    prompt = tuple(range(100, 132))
    tokens, seeds = (40, (1,)) if quick else (120, (1, 2, 3))
    requests = [
        Request(dict.fromkeys(Side, prompt), policy, Sampling(seed=seed), max_tokens=tokens)
        for seed in seeds
    ]
    return summary(rounds(engine, requests))


def builtin(stitch: Stitch, quick: bool) -> dict[str, Any]:
    """The built-in pair, eager, at its own tau, and the parts of its time."""
    engine = stitch.engine
    policy = make("entropy", tau=stitch.tau)
    requests = [
        Request(stitch.prompts(p.question, policy=policy), policy, max_tokens=400)
        for p in spread(problems("test"), 10 if quick else 100)
    ]
    found = summary(rounds(engine, requests))
    with timed(engine) as spent:
        whole = sum(sum(write(engine, request).steps) for request in requests)
    found["parts"] = {
        "forward": spent["forward"] / whole,
        "gate": spent["gate"] / whole,
        "rest": 1 - sum(spent.values()) / whole,
    }
    return found


def main() -> None:
    args = parsed(parser(__doc__, "few answers"))
    torch.set_num_threads(1)
    small = builtin(rstitch.load(max_rows=2), args.quick)
    parts = ", ".join(f"{name} {share:.0%}" for name, share in small["parts"].items())
    say(f"built-in pair, eager: {small['over_bare']:.3f}x the bare passes; time: {parts}")
    torch.set_num_threads(2)
    real = real_shapes(args.quick)
    say(
        f"0.5B and 1.5B shapes, bf16: {real['over_bare']:.4f}x the bare passes "
        f"{[round(x, 4) for x in real['interval']]}, {real['tokens']} tokens, LLM share "
        f"{real['llm_share']:.0%}, {real['handoffs']} hand-offs"
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
