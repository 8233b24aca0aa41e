"""Answers within an LLM share or a deadline: are limits kept, and what do they cost in accuracy?

    python -m benchmarks.steer [--quick] [--save]

The built-in pair on the test split. Shares, many in flight: how many answers end within two points
above the ceiling, and accuracy beside that of the fixed tau whose mean share is the same, on the
same problems, read off a sweep of the same run. Deadlines, one at a time and on few problems: k
times what the SLM alone is predicted to take for that problem (its tokens there, times its seconds
per token in this run). Once in seconds of the process, one thread: beside each stands how often the
SLM alone met the same deadline, which is what noise leaves. And once on a clock that only passes
move, each by what one of its side and size took in this run, which shows the rule without noise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from rstitch.api import Answer, Stitch
from rstitch.engine.runner import Extend
from rstitch.evals.grade import is_right
from rstitch.pairs.recipe.problem import Problem
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.types import Side

MAX_TOKENS = 400
CEILINGS = (0.02, 0.05, 0.1, 0.15, 0.2)
ROOM = 0.02
"""Above the ceiling, in which an answer may end."""
TAUS = (1.0, 0.25, 0.2, 0.15, 0.12, 0.102, 0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.03)
FACTORS = (1.2, 1.5, 2.0, 3.0)
GOAL_WITHIN, GOAL_POINTS, GOAL_MET = 0.99, -2.0, 0.95
WARM = 3
"""Problems that are not timed."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one rule came to over all problems."""

    share: float
    """LLM tokens over all tokens of all answers."""
    accuracy: float
    """Percent."""
    shares: tuple[float, ...]
    """Of each answer."""


def point(stitch: Stitch, chosen: Sequence[Problem], **options: Any) -> Point:
    progress(f"{len(chosen)} problems, {options}")
    given = stitch.batch([p.question for p in chosen], max_tokens=MAX_TOKENS, **options)
    usages = [answer.usage for answer in given]
    return Point(
        sum(u.llm_tokens for u in usages) / sum(u.tokens for u in usages),
        accuracy(chosen, given),
        tuple(u.llm_share for u in usages),
    )


def accuracy(chosen: Sequence[Problem], given: Sequence[Answer]) -> float:
    right = [is_right(a.text, p.answer) for a, p in zip(given, chosen, strict=True)]
    return 100 * sum(right) / len(right)


def fixed(sweep: Sequence[Point], share: float) -> float:
    """Accuracy of the fixed tau with that mean share, between its neighbours in the sweep."""
    known = sorted((one.share, one.accuracy) for one in sweep)
    return float(np.interp(share, [s for s, _ in known], [a for _, a in known]))


def under_ceilings(stitch: Stitch, chosen: Sequence[Problem], quick: bool) -> dict[str, Any]:
    taus = TAUS[::3] if quick else TAUS
    sweep = {tau: point(stitch, chosen, tau=tau) for tau in taus}
    say(f"{'ceiling':>7} {'mean':>6} {'most':>6} {'within':>7} {'right':>7} {'fixed tau':>9}")
    rows = {}
    for ceiling in CEILINGS:
        one = point(stitch, chosen, max_llm_share=ceiling)
        within = sum(share <= ceiling + ROOM for share in one.shares) / len(chosen)
        other = fixed([*sweep.values()], one.share)
        say(
            f"{ceiling:7.0%} {one.share:6.1%} {max(one.shares):6.1%} {within:7.1%} "
            f"{one.accuracy:6.1f}% {other:8.1f}%"
        )
        rows[ceiling] = {
            "share": one.share, "largest_share": max(one.shares), "within": within,
            "accuracy": one.accuracy, "fixed_accuracy": other, "points": one.accuracy - other,
        }  # fmt: skip
    told = {tau: {"share": p.share, "accuracy": p.accuracy} for tau, p in sweep.items()}
    return {"problems": len(chosen), "ceilings": rows, "sweep": told}


class Passes:
    """A clock that an engine's passes move, each by seconds per pass and per token of its side."""

    def __init__(self, stitch: Stitch, lines: Mapping[Side, tuple[float, float]]) -> None:
        self.now = 0.0
        for side, loaded in stitch.models.items():
            self._count(loaded.runner, *lines[side])

    def __call__(self) -> float:
        return self.now

    def _count(self, runner: Any, base: float, per_token: float) -> None:
        extend = runner.extend

        def counted(batch: Sequence[Extend], *rest: Any) -> Any:
            found = extend(batch, *rest)
            self.now += base + per_token * sum(len(one.tokens) for one in batch)
            return found

        runner.extend = counted


def lines_of(given: Sequence[Answer]) -> dict[Side, tuple[float, float]]:
    """Seconds per pass and per token of each side: a line through the median of each size."""
    found = {}
    for side in Side:
        passes = [f for a in given for f in a.trace.forwards if f.side is side]
        sizes = sorted({f.new_tokens for f in passes})
        medians = [median(f.seconds for f in passes if f.new_tokens == size) for size in sizes]
        weights = [sum(f.new_tokens == size for f in passes) ** 0.5 for size in sizes]
        per_token, base = np.polyfit(sizes, medians, 1, w=weights)
        found[side] = float(base), float(per_token)
    return found


@dataclass(slots=True)
class Timed:
    """What came of one factor."""

    met: float = 0.0
    slm_met: float = 0.0
    """By the SLM alone, beside it."""
    accuracy: float = 0.0
    share: float = 0.0


def under_deadlines(stitch: Stitch, chosen: Sequence[Problem]) -> dict[str, Any]:
    alone = [stitch.generate(p.question, policy="slm", max_tokens=MAX_TOKENS) for p in chosen]
    pace = median(a.usage.seconds / a.usage.tokens for a in alone[WARM:])
    chosen, alone = chosen[WARM:], alone[WARM:]
    rows = {}
    for factor in FACTORS:
        limits = [factor * pace * a.usage.tokens for a in alone]
        slm, given = [], []
        for problem, limit in zip(chosen, limits, strict=True):
            options: dict[str, Any] = {"max_tokens": MAX_TOKENS}
            slm.append(stitch.generate(problem.question, policy="slm", **options))
            given.append(stitch.generate(problem.question, deadline=limit, **options))
        timed = Timed(
            met(given, limits),
            met(slm, limits),
            accuracy(chosen, given),
            sum(a.usage.llm_share for a in given) / len(given),
        )
        say(
            f"{factor:.1f} x the SLM's time: met {timed.met:6.1%} (SLM alone {timed.slm_met:6.1%}),"
            f" {timed.accuracy:.1f} % right, {timed.share:.1%} LLM"
        )
        rows[factor] = asdict(timed)
    return {"problems": len(chosen), "slm_seconds_per_token": pace, "factors": rows}


def met(given: Sequence[Answer], limits: Sequence[float]) -> float:
    flags = [a.usage.seconds <= limit for a, limit in zip(given, limits, strict=True)]
    return sum(flags) / len(flags)


def main() -> None:
    options = parser(__doc__, "few problems: figures without meaning")
    options.add_argument("--problems", type=int, default=1000, help="of the test split, for shares")
    args = parsed(options)
    test = problems("test")
    many, few = (8, 2) if args.quick else (args.problems, 60)
    with rstitch.load(max_rows=256, threads=1) as stitch:
        shares = under_ceilings(stitch, spread(test, many), args.quick)
    timed_on = spread(test, few + WARM)
    with rstitch.load(max_rows=1, threads=1) as stitch:
        stitch.in_process.loop.clock = time.process_time
        say("seconds of the process:")
        deadlines = under_deadlines(stitch, timed_on)
        questions = [problem.question for problem in timed_on]
        lines = lines_of(stitch.batch(questions, max_tokens=MAX_TOKENS))
    with rstitch.load(max_rows=1, threads=1) as stitch:
        stitch.in_process.loop.clock = Passes(stitch, lines)
        say("on the clock of passes:")
        predicted = under_deadlines(stitch, timed_on)
    rows, timed = shares["ceilings"].values(), predicted["factors"].values()
    worst = min(row["points"] for row in rows)
    details: dict[str, Any] = {"shares": shares, "deadlines": deadlines, "predicted": predicted}
    details["seconds_per_pass_and_token"] = {side.label: line for side, line in lines.items()}
    details["bars"] = {
        "within_2_points_99_percent": min(row["within"] for row in rows) >= GOAL_WITHIN,
        "accuracy_within_2_points": worst >= GOAL_POINTS,
        "predicted_deadlines_met_95_percent": min(row["met"] for row in timed) >= GOAL_MET,
    }
    show_bars(details["bars"])
    finish("steer", worst, GOAL_POINTS, details, args.save)


if __name__ == "__main__":
    main()
