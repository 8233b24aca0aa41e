"""From the records of a calibration to its curve: what each tau costs, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rstitch.evals import statistics as st
from rstitch.evals.calibration import bound
from rstitch.evals.calibration.plan import Bound
from rstitch.evals.calibration.prompts import Prompts
from rstitch.evals.extract import answer_of, final_part
from rstitch.evals.grade import is_equal
from rstitch.evals.statistics import Interval
from rstitch.evals.verify import Verifier

LLM, AGAIN = "llm", "llm, other draws"
"""Methods beside the taus; the second where answers are sampled, so that the LLM differs from
itself."""
ALONE = -1.0
"""The tau at which the LLM writes all."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Point:
    """One tau on the prompts that the LLM has answered."""

    tau: float
    n: int
    llm_share: float
    """Of kept tokens."""
    tokens: float
    """Per answer."""
    agreed: int
    """Final answers that are the LLM's."""
    agreement: Interval
    """95 %, Wilson."""
    seconds: float | None
    """Per answer, one at a time; None where there was no time to measure."""
    timed: int
    speed_up: float | None
    """The LLM's seconds over ours, sums over the same prompts."""
    speed_interval: Interval | None
    """95 %, over prompts."""
    right: int | None = None
    """With answers to grade by."""
    won: int | None = None
    """Right where the LLM is wrong."""
    lost: int | None = None
    low: float | None = None
    """Of right, less the LLM's, as shares: lower end of the one-sided interval, where a bound is
    asked for."""
    shown: bool | None = None
    """The bound holds; None where none is asked for."""


@dataclass(frozen=True, slots=True)
class Curve:
    """All that was measured."""

    llm: Point
    points: tuple[Point, ...]
    """By tau, smallest first."""
    again: int | None
    """Where answers are sampled: how often the LLM agrees with itself, other draws."""
    unread: int
    """Prompts to which the LLM gives no final answer, so that whole answers are compared."""
    truncated: int
    """The LLM's answers that the budget cut off."""
    bound: Bound | None
    left_out: tuple[str, ...] = field(default=())
    """What there was no time for, a line each."""


def method_of(tau: float) -> str:
    return f"tau={tau!r}"


def same_answer(ours: Record, theirs: Record, verifier: Verifier) -> bool:
    """Whether two recorded answers come to the same: their final answers, or where neither has one,
    all that follows the thinking."""
    found = [answer_of(one["text"], one["inside"]) for one in (ours, theirs)]
    if found[0] is None and found[1] is None:
        a, b = (final_part(one["text"], one["inside"]).split() for one in (ours, theirs))
        return a == b
    return found[1] is not None and is_equal(found[0], found[1], verifier)


def curve(
    records: Sequence[Record],
    prompts: Prompts,
    taus: Sequence[float],
    limits: Bound | None = None,
    left_out: Sequence[str] = (),
) -> Curve:
    """Of the taus that are finished on every prompt that counts: those which the LLM answered
    before the first that it did not."""
    answers: dict[str, dict[str, Record]] = {}
    for one in records:
        if one["type"] == "answer":
            answers.setdefault(one["method"], {})[one["problem"]] = one
    theirs, counted = answers.get(LLM, {}), []
    for problem in prompts.problems:
        if problem.id not in theirs:
            break
        if theirs[problem.id]["reason"] != "failed":
            counted.append(problem.id)
    rounds = [one for one in records if one["type"] == "latency"]

    def finished(method: str) -> bool:
        return all(name in answers.get(method, {}) for name in counted)

    def of(tau: float, method: str) -> Point:
        ours = [answers[method][name] for name in counted]
        return _point(tau, ours, [theirs[name] for name in counted], method, rounds, limits)

    again = [answers[AGAIN][name]["agrees"] for name in counted] if finished(AGAIN) else None
    base = [theirs[name] for name in counted]
    return Curve(
        llm=of(ALONE, LLM),
        points=tuple(of(tau, m) for tau in sorted(taus) if finished(m := method_of(tau))),
        again=None if again is None else sum(again),
        unread=sum(answer_of(one["text"], one["inside"]) is None for one in base),
        truncated=sum(one["reason"] == "length" for one in base),
        bound=limits,
        left_out=tuple(left_out),
    )


def _point(
    tau: float,
    ours: Sequence[Record],
    theirs: Sequence[Record],
    method: str,
    rounds: Sequence[Record],
    limits: Bound | None,
) -> Point:
    n, llm = len(ours), sum(one["llm_tokens"] for one in ours)
    tokens = llm + sum(one["slm_tokens"] for one in ours)
    agreed = n if method == LLM else sum(one["agrees"] for one in ours)
    both = list(_latest(rounds, method).values())
    speed = st.ratio_interval([o[LLM] for o in both], [o[method] for o in both]) if both else None
    return Point(
        tau=tau,
        n=n,
        llm_share=llm / tokens if tokens else 0.0,
        tokens=tokens / n,
        agreed=agreed,
        agreement=st.wilson(agreed, n),
        seconds=fmean(one[method] for one in both) if both else None,
        timed=len(both),
        speed_up=speed[0] if speed else None,
        speed_interval=speed[1:] if speed else None,
        **_graded(ours, theirs, limits if method != LLM else None),
    )


def _latest(rounds: Sequence[Record], method: str) -> dict[str, Mapping[str, float]]:
    """Seconds by problem, of the last round in which both it and the LLM answered: a ratio is of
    one round, and no prompt counts twice where there was another for more taus."""
    return {
        one["problem"]: one["seconds"]
        for one in rounds
        if all(one["seconds"].get(name) is not None for name in (method, LLM))
    }


def untimed(records: Sequence[Record], problem: str, methods: Sequence[str]) -> list[str]:
    """The LLM and those that no round of that problem has; nothing where all are timed."""
    rounds = (one for one in records if one["type"] == "latency" and one["problem"] == problem)
    timed = {name for one in rounds for name in one["seconds"]}
    missing = [name for name in methods if name not in timed]
    return list(dict.fromkeys([LLM, *missing])) if missing else []


def won_lost(ours: Sequence[Record], theirs: Sequence[Record]) -> tuple[int, int]:
    """How many are right where the LLM is wrong, and wrong where it is right."""
    pairs = [(a["right"], b["right"]) for a, b in zip(ours, theirs, strict=True)]
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def _graded(
    ours: Sequence[Record], theirs: Sequence[Record], limits: Bound | None
) -> dict[str, Any]:
    if ours[0]["right"] is None:
        return {}
    n, (won, lost) = len(ours), won_lost(ours, theirs)
    found: dict[str, Any] = {"right": sum(a["right"] for a in ours), "won": won, "lost": lost}
    if limits is not None:
        found["low"] = bound.low(won, lost, n, limits.confidence)
        found["shown"] = bound.shown(won, lost, n, limits.within, limits.confidence)
    return found
