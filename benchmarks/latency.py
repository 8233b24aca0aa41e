"""Does the latency model hold? Prices beside replays, the simulator beside the engine.

    python -m benchmarks.latency [--quick] [--save] [--only builtin|flight|random]

Three parts; with --only the other two are those of the result that is there. Recorded answers of
the built-in pair are replayed in several rounds, between those in which the profile is measured,
and priced from it. The same for a random-weight pair in the shapes of Qwen2.5-0.5B and -1.5B, with
few and short answers, since it is slow. And closed loops of the built-in pair with N answers in
flight, between rounds too, beside the simulator's rate for them.
Rounds are many and short, since a machine's pace changes by a tenth from one minute to the next.
The floor beside each error is what two replays of one answer differ by, in different rounds.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import rstitch
from benchmarks.common import RESULTS, finish, parsed, parser, progress, say, show_bars
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
        "allowed": verdict.allowed,
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
    stitch: Stitch, recorded: Sequence[Recorded], sizes: Sequence[int], size: Size
) -> Iterator[dict[str, Any]]:
    """The engine's rate and the simulator's, at each size; profile and loops in turns. The loops
    ask the same problems whose answers the simulator moves, and from round to round others."""
    patterns = [of_trace(one) for one in recorded]
    asked = spread(problems("test"), len(recorded))
    policy = make("entropy", tau=stitch.tau)
    measuring = Measuring(stitch.in_process, ROWS, 512, size.budget, size.rounds, timed=1)
    runs, turns = {n: Run() for n in sizes}, {n: itertools.cycle(asked) for n in sizes}
    for at in range(size.rounds):
        measuring.round()
        for n in sizes:
            Loop(stitch, policy, turns[n], n).run(n + size.more, runs[n])
            progress(f"round {at + 1} of {size.rounds}, {n} in flight: done")
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


# -- the parts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Size:
    """Of the whole, and of `--quick`."""

    answers: int = 200
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    budget: float = 200.0
    """Seconds for a profile."""
    rounds: int = ROUNDS
    more: int = 24
    """Answers of a closed loop in a round, beyond as many as are in flight."""
    random: tuple[int, int] = (20, 24)
    """Answers of the random pair, and tokens of each."""


QUICK = Size(20, (1, 4, 16), 6.0, 3, 0, (4, 8))


def builtin(size: Size) -> dict[str, Any]:
    with rstitch.load(max_rows=ROWS) as stitch:
        measuring = Measuring(stitch.in_process, 1, 512, size.budget, size.rounds)
        _, checked = check.measured(measuring, written(stitch, size.answers), size.rounds)
    return told("built-in", check.verdict(checked))


def flight(size: Size) -> list[dict[str, Any]]:
    say("    N            engine    simulated    error")
    with rstitch.load(max_rows=ROWS) as stitch:
        return list(in_flight(stitch, written(stitch, size.answers), size.sizes, size))


def shaped(size: Size) -> dict[str, Any]:
    engine = random_engine()
    large = Measuring(engine, 1, 128, size.budget, size.rounds, timed=1)
    _, checked = check.measured(large, random_answers(engine, *size.random), TIMES)
    return told("0.5b/1.5b", check.verdict(checked))


PARTS: dict[str, Callable[[Size], Any]] = {"builtin": builtin, "flight": flight, "random": shaped}


def main() -> None:
    options = parser(__doc__, "20 answers, 4 of the random pair, three sizes")
    options.add_argument("--only", choices=PARTS, help="the rest is of the result that is there")
    args = parsed(options)
    size = QUICK if args.quick else Size()
    parts: dict[str, Any] = {}
    if args.only:
        before = json.loads((RESULTS / "latency.json").read_text())
        parts = {name: before[name] for name in PARTS}
    for name, part in PARTS.items():
        if args.only in (None, name):
            parts[name] = part(size)
    bars = {
        "simulator_within_10_percent": all(abs(n["error"]) <= SIMULATED for n in parts["flight"])
    }
    for name in ("builtin", "random"):
        bars[f"{name}_median"] = parts[name]["median"] <= parts[name]["allowed"]
        bars[f"{name}_p95"] = parts[name]["p95"] <= check.WITHIN_P95
    show_bars(bars)
    first = parts["builtin"]
    finish("latency", first["median"], first["allowed"], {**parts, "bars": bars}, args.save)


if __name__ == "__main__":
    main()
