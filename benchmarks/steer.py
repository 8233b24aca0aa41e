"""Answers within an LLM share or a deadline: are limits kept, and what do they cost in accuracy?

    python -m benchmarks.steer [--quick] [--save] [--only shares|deadlines]

The built-in pair on the test split. Shares, many in flight: how many answers end within two points
above the ceiling, and accuracy beside that of the fixed tau whose mean share is the same, on the
same problems, read off a sweep of the same run. Deadlines, one at a time and on few problems: k
times what the SLM alone is predicted to take for that problem, its tokens there times its seconds
per token in the last few answers: a machine that others share is at times half as fast as a minute
before. Once in seconds of the process, one thread, each problem several times: beside each answer
one of the SLM alone under the same deadline tells what noise leaves, and how many of the misses are
the machine's. And once on a clock that only passes move, each by what one of its side and size took
in this run, which shows the rule without noise.
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
LATELY = 5
"""Answers of the SLM alone whose median pace predicts the next."""
TIMES = 2
"""Answers to each problem under each deadline."""


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
    """What came of one factor: parts of all answers, but for the accuracy in percent."""

    met: float
    slm_met: float
    """By the SLM alone, each beside one of the others."""
    both_missed: float
    """The SLM alone missed it too."""
    missed_with_llm: float
    """Some of it the LLM's."""
    accuracy: float
    share: float

    @classmethod
    def of(
        cls,
        chosen: Sequence[Problem],
        given: Sequence[Answer],
        slm: Sequence[Answer],
        limits: Sequence[float],
    ) -> Timed:
        late, slm_late = missed(given, limits), missed(slm, limits)
        llm = [a.usage.llm_tokens > 0 for a in given]
        return cls(
            met=1 - float(late.mean()),
            slm_met=1 - float(slm_late.mean()),
            both_missed=float((late & slm_late).mean()),
            missed_with_llm=float((late & llm).mean()),
            accuracy=accuracy(chosen, given),
            share=sum(a.usage.llm_share for a in given) / len(given),
        )


def under_deadlines(stitch: Stitch, chosen: Sequence[Problem], times: int) -> dict[str, Any]:
    options: dict[str, Any] = {"max_tokens": MAX_TOKENS}
    alone = [stitch.generate(p.question, policy="slm", **options) for p in chosen]
    paces = [a.usage.seconds / a.usage.tokens for a in alone[WARM:]]
    pace, rows = median(paces), {}
    asked = [*zip(chosen[WARM:], (a.usage.tokens for a in alone[WARM:]), strict=True)] * times
    for factor in FACTORS:
        limits, slm, given = list[float](), list[Answer](), list[Answer]()
        for i, (problem, tokens) in enumerate(asked):
            limits.append(factor * median(paces[-LATELY:]) * tokens)
            both: list[tuple[list[Answer], dict[str, Any]]]
            both = [(slm, {"policy": "slm"}), (given, {"deadline": limits[-1]})]
            for answers, rule in both[:: 1 if i % 2 else -1]:  # neither is always the later one
                answers.append(stitch.generate(problem.question, **rule, **options))
            paces.append(slm[-1].usage.seconds / slm[-1].usage.tokens)
        timed = Timed.of([problem for problem, _ in asked], given, slm, limits)
        say(
            f"{factor:.1f} x the SLM's time: met {timed.met:6.1%} (SLM alone {timed.slm_met:6.1%},"
            f" neither {timed.both_missed:.1%}, missed with LLM tokens {timed.missed_with_llm:.1%})"
            f", {timed.accuracy:.1f} % right, {timed.share:.1%} LLM"
        )
        rows[factor] = asdict(timed)
    return {"answers": len(asked), "slm_seconds_per_token": pace, "factors": rows}


def missed(given: Sequence[Answer], limits: Sequence[float]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([a.usage.seconds for a in given]) > np.array(limits)


def timed(chosen: Sequence[Problem], times: int) -> dict[str, Any]:
    """Both clocks."""
    with rstitch.load(max_rows=1, threads=1) as stitch:
        stitch.in_process.loop.clock = time.process_time
        say("seconds of the process:")
        deadlines = under_deadlines(stitch, chosen, times)
        questions = [problem.question for problem in chosen]
        lines = lines_of(stitch.batch(questions, max_tokens=MAX_TOKENS))
    with rstitch.load(max_rows=1, threads=1) as stitch:
        stitch.in_process.loop.clock = Passes(stitch, lines)
        say("on the clock of passes:")
        predicted = under_deadlines(stitch, chosen, 1)
    return {
        "deadlines": deadlines,
        "predicted": predicted,
        "seconds_per_pass_and_token": {side.label: line for side, line in lines.items()},
    }


def bars_of(details: dict[str, Any]) -> dict[str, bool]:
    """Of the parts that were run."""
    bars = {}
    if "shares" in details:
        rows = details["shares"]["ceilings"].values()
        bars["within_2_points_99_percent"] = min(row["within"] for row in rows) >= GOAL_WITHIN
        bars["accuracy_within_2_points"] = min(row["points"] for row in rows) >= GOAL_POINTS
    for name in ("deadlines", "predicted"):
        if name in details:
            least = min(row["met"] for row in details[name]["factors"].values())
            told = "predicted_deadlines" if name == "predicted" else "deadlines"
            bars[f"{told}_met_95_percent"] = least >= GOAL_MET
    return bars


def main() -> None:
    options = parser(__doc__, "few problems: figures without meaning")
    options.add_argument("--problems", type=int, default=1000, help="of the split, for shares")
    options.add_argument("--only", choices=("shares", "deadlines"), help="one part; not kept")
    options.add_argument("--split", choices=("dev", "test"), default="test", help="dev: not kept")
    args = parsed(options)
    if args.save and (args.only or args.split != "test"):
        options.error("--save keeps full runs on the test split only; leave out --only and --split")
    found = problems(args.split)
    many, few, times = (8, 2, 1) if args.quick else (args.problems, 60, TIMES)
    details: dict[str, Any] = {}
    if args.only != "deadlines":
        with rstitch.load(max_rows=256, threads=1) as stitch:
            details["shares"] = under_ceilings(stitch, spread(found, many), args.quick)
    if args.only != "shares":
        details |= timed(spread(found, few + WARM), times)
    details["bars"] = bars_of(details)
    show_bars(details["bars"])
    shares = details.get("shares", {}).get("ceilings", {}).values()
    worst = min((row["points"] for row in shares), default=0.0)
    finish("steer", worst, GOAL_POINTS, details, args.save)


if __name__ == "__main__":
    main()
