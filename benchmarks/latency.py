"""Does the latency model hold? Prices beside replays, the simulator beside the engine.

    python -m benchmarks.latency [--quick] [--save]

Three parts. Recorded answers of the built-in pair are replayed in several rounds, between those in
which the profile is measured, and priced from it. The same for a random-weight pair in the shapes
of Qwen2.5-0.5B and -1.5B, with few and short answers, since it is slow. And closed loops of the
built-in pair with N answers in flight, between rounds too, beside the simulator's rate for them.
Rounds are many and short, since a machine's pace changes by a tenth from one minute to the next.
The floor beside each error is what two replays of one answer differ by, in different rounds.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.inflight import Loop, Run
from benchmarks.random_pair import random_runner
from rstitch.api import Stitch
from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.latency import check
from rstitch.latency.check import Verdict
from rstitch.latency.costs import PassCosts
from rstitch.latency.measure import Measuring
from rstitch.latency.pattern import of_trace
from rstitch.latency.recorded import Recorded, label
from rstitch.latency.simulate import simulate
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.trace import Trace
from rstitch.types import Failed, Finished, Sampling, Side

SIMULATED = 0.10
"""The simulator's rate may be so far from the engine's."""
MAX_TOKENS = 400
ROWS = 32
ROUNDS = 12
TIMES = 4
"""An answer of the random pair is replayed in so many of them, one of the built-in pair in all: it
is short, and the noise of one replay is a tenth of it."""


def written(stitch: Stitch, n: int) -> list[Recorded]:
    """Stitched answers to held-out problems, with their passes; many in flight."""
    questions = [problem.question for problem in spread(problems("test"), n)]
    answers = stitch.batch(questions, tau=stitch.tau, max_tokens=MAX_TOKENS)
    return [Recorded(label(answer.trace), answer.trace) for answer in answers]


def told(name: str, verdict: Verdict) -> dict[str, Any]:
    say(
        f"{name:12s}{verdict.answers:5d} answers   floor {verdict.floor:6.1%}   median "
        f"{verdict.median:6.1%}   p95 {verdict.p95:6.1%}   in sum {verdict.bias:+7.1%}"
    )
    return {
        "answers": verdict.answers,
        "floor": verdict.floor,
        "median": verdict.median,
        "p95": verdict.p95,
        "bias": verdict.bias,
        "predicted": verdict.predicted,
        "measured": verdict.measured,
        "outside": verdict.outside,
    }


# -- the random pair ------------------------------------------------------------------------------


def random_engine() -> InProcessEngine:
    runners = {
        Side.SLM: random_runner("0.5b", torch.bfloat16),
        Side.LLM: random_runner("1.5b", torch.bfloat16),
    }
    config = EngineConfig(max_rows=1, dtype="bfloat16", measure_costs=False)
    return InProcessEngine(runners, frozenset({0}), config)


def random_answers(engine: InProcessEngine, n: int, tokens: int) -> list[Recorded]:
    """An LLM share of about a fifth; prompts of 16 to 64 tokens."""
    draw, found = random.Random(0), []
    policy = make("random", p=0.15, q=0.6)
    for number in range(n):
        prompt = tuple(draw.randrange(1000) for _ in range(draw.randrange(16, 64)))
        prompts = dict.fromkeys(Side, prompt)
        engine.submit(
            Request(prompts, policy, Sampling(seed=number), max_tokens=tokens, ignore_eos=True)
        )
        found.append(_end(engine, prompts, policy.spec()))
        progress(f"random pair, answer {number + 1} of {n}")
    return found


def _end(engine: InProcessEngine, prompts: dict[Side, Any], spec: dict[str, Any]) -> Recorded:
    while True:
        for event in engine.step():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                trace = Trace(event.request, spec, Sampling(seed=0), prompts)
                trace.forwards = list(event.forwards)
                trace.end = {"usage": {"tokens": event.usage.tokens}}
                return Recorded(label(trace), trace)


# -- many in flight -------------------------------------------------------------------------------


def in_flight(
    stitch: Stitch, recorded: Sequence[Recorded], sizes: Sequence[int], quick: bool, budget: float
) -> Iterator[dict[str, Any]]:
    """The engine's rate and the simulator's, at each size; profile and loops in turns."""
    patterns = [of_trace(one) for one in recorded]
    asked = spread(problems("test"), len(recorded))
    policy = make("entropy", tau=stitch.tau)
    rounds = 3 if quick else ROUNDS
    measuring = Measuring(stitch.engine, ROWS, 512, budget, rounds, timed=1)
    runs = {n: Run() for n in sizes}
    for at in range(rounds):
        measuring.round()
        for n in sizes:
            answers = n if quick else n + 8
            Loop(stitch, policy, itertools.cycle(asked), n).run(answers, runs[n])
            progress(f"round {at + 1} of {rounds}, {n} in flight: done")
    costs: PassCosts = measuring.costs()
    for n in sizes:
        found = simulate(patterns, n, costs, answers=max(200, 4 * n))
        row = {
            "n": n,
            "engine": runs[n].rate,
            "simulated": found.answers_per_second,
            "error": found.answers_per_second / runs[n].rate - 1,
            "outside": found.outside / found.passes,
        }
        rates = f"{row['engine']:10.2f}/s{row['simulated']:10.2f}/s"
        say(f"{n:5d} in flight{rates}{row['error']:+9.1%}")
        yield row


def main() -> None:
    args = parsed(parser(__doc__, "20 answers, 4 of the random pair, three sizes"))
    answers, sizes = (20, (1, 4, 16)) if args.quick else (200, (1, 2, 4, 8, 16, 32))
    budget, rounds = (6.0, 3) if args.quick else (200.0, ROUNDS)
    with rstitch.load(max_rows=ROWS) as stitch:
        recorded = written(stitch, answers)
        measuring = Measuring(stitch.engine, 1, 512, budget, rounds)
        _, checked = check.measured(measuring, recorded, rounds)
        builtin = check.verdict(checked)
        parts: dict[str, Any] = {"builtin": told("built-in", builtin)}
        say("    N            engine    simulated    error")
        levels = list(in_flight(stitch, recorded, sizes, args.quick, budget))
    engine = random_engine()
    few, tokens = (4, 8) if args.quick else (20, 24)
    large = Measuring(engine, 1, 128, budget, rounds, timed=1)
    _, checked = check.measured(large, random_answers(engine, few, tokens), TIMES)
    shaped = check.verdict(checked)
    parts["random"] = told("0.5b/1.5b", shaped)
    bars = {
        "builtin_median": builtin.median <= builtin.allowed,
        "builtin_p95": builtin.p95 <= check.WITHIN_P95,
        "random_median": shaped.median <= shaped.allowed,
        "random_p95": shaped.p95 <= check.WITHIN_P95,
        "simulator_within_10_percent": all(abs(one["error"]) <= SIMULATED for one in levels),
    }
    show_bars(bars)
    details = {**parts, "sizes": levels, "bars": bars}
    finish("latency", builtin.median, builtin.allowed, details, args.save)


if __name__ == "__main__":
    main()
