"""Which tau of a curve: the one asked for, and why in one line that does not promise too much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rstitch.errors import BadRequest
from rstitch.evals.calibration import bound
from rstitch.evals.calibration.curve import ALONE, Curve, Point
from rstitch.evals.calibration.plan import Bound

MARGIN = 0.01
"""Share of answers that may differ where nothing is asked for: the point that `statistics.MARGIN`
is of accuracy. A lone difference on twenty prompts may be noise, and may be one in five."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One goal at most; none asks for the fastest tau that changes next to nothing."""

    share: float | None = None
    """LLM tokens over all."""
    speedup: float | None = None
    """Over the LLM alone, one answer at a time."""
    agreement: float | None = None
    """Share of answers that are the LLM's; by the point estimate."""

    def __post_init__(self) -> None:
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) > 1:
            raise BadRequest(f"give --{given[0]} or --{given[1]}, not both")
        for name in ("share", "agreement"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise BadRequest(f"--{name} is {value:g}; it must be above 0 and at most 1")
        if self.speedup is not None and not self.speedup > 0:
            raise BadRequest(f"--speedup is {self.speedup:g}; it must be above 0, such as 2")

    @property
    def any(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


@dataclass(frozen=True, slots=True)
class Choice:
    """The tau for a card."""

    tau: float
    """-1: the LLM alone."""
    why: str
    """One line."""


def pick(curve: Curve, wanted: Wanted | None = None, *, fallback: bool = False) -> Choice:
    """The tau, by the curve's bound if it has one. fallback: the LLM alone rather than none.

    Raises BadRequest, with what would help, where no tau does what is wanted.
    """
    wanted = wanted or Wanted()
    try:
        return _pick(curve, wanted)
    except BadRequest as error:
        if not fallback:
            raise
        return Choice(ALONE, f"the LLM alone, since {error}")


def _pick(curve: Curve, wanted: Wanted) -> Choice:
    if curve.bound is not None:
        return _by_bound(curve, curve.bound)
    if wanted.share is not None:
        return _by_share(curve, wanted.share)
    if wanted.speedup is not None:
        return _by_speed(curve, wanted.speedup)
    if wanted.agreement is not None:
        return _by_agreement(curve, wanted.agreement)
    return _by_noise(curve)


def _by_bound(curve: Curve, limits: Bound) -> Choice:
    """Of those shown from the smallest on, before the first that is not: a fixed sequence, so that
    many taus cost no confidence."""
    good: list[Point] = []
    for point in curve.points:
        if not point.shown:
            break
        good.append(point)
    told = f"within {limits.within:g} of the LLM's accuracy with confidence {limits.confidence:g}"
    if not good:
        raise BadRequest(f"no tau is shown to be {told}: {_how_many(curve, limits)}")
    best, n = _fastest(good), curve.llm.n
    return Choice(
        best.tau,
        f"tau {best.tau:g} is {told} ({n} prompts, {best.won} won, {best.lost} lost); the fastest "
        f"of {_taus(len(good))} shown{_times(best)}",
    )


def _how_many(curve: Curve, limits: Bound) -> str:
    first = curve.points[0]
    won, lost, n = first.won or 0, first.lost or 0, first.n
    needed = bound.needed(won, lost, n, limits.within, limits.confidence)
    seen = f"at {first.tau:g} it won {won} and lost {lost} of {n} prompts"
    if needed is None:
        return f"{seen}, a loss that more prompts would confirm; try smaller --taus or --within"
    return (
        f"{seen}; about {needed} new prompts could show it, if those shares stay what they are "
        "(new ones alone: tested together with these, the error is more than promised)"
    )


def _by_share(curve: Curve, share: float) -> Choice:
    best = min(curve.points, key=lambda one: abs(one.llm_share - share))
    return Choice(
        best.tau,
        f"tau {best.tau:g} has an LLM share of {best.llm_share:.1%}, the nearest to {share:.1%} of "
        f"{_taus(len(curve.points))}{_agreeing(best)}",
    )


def _by_speed(curve: Curve, speedup: float) -> Choice:
    timed = [one for one in curve.points if one.speed_up is not None]
    good = [one for one in timed if (one.speed_up or 0) >= speedup]
    if not good:
        best = max(timed, key=lambda one: one.speed_up or 0, default=None)
        most = f"{best.speed_up:.2f}x at tau {best.tau:g}" if best else "not measured: no time"
        raise BadRequest(f"no tau is {speedup:g} times as fast as the LLM alone; most is {most}")
    best = max(good, key=lambda one: one.agreed)
    return Choice(
        best.tau,
        f"tau {best.tau:g} agrees most of {_taus(len(good))} at least {speedup:g} times as fast as "
        f"the LLM alone{_times(best)}{_agreeing(best)}",
    )


def _by_agreement(curve: Curve, agreement: float) -> Choice:
    good = [one for one in curve.points if one.agreed >= agreement * one.n - 1e-9]
    if not good:
        best = max(curve.points, key=lambda one: one.agreed)
        raise BadRequest(
            f"no tau agrees with the LLM on {agreement:.0%} of {best.n} prompts; most is "
            f"{best.agreed} at tau {best.tau:g}: try smaller --taus or --agreement"
        )
    best = _fastest(good)
    return Choice(
        best.tau,
        f"tau {best.tau:g} is the fastest of {_taus(len(good))} that agree on at least "
        f"{agreement:.0%}, by the point estimate{_times(best)}{_agreeing(best)}",
    )


def _by_noise(curve: Curve) -> Choice:
    """The fastest that differs on one answer in a hundred at most (on none of fewer), or where
    answers are sampled, no more often than the LLM from itself with other draws."""
    n = curve.llm.n
    own = 0 if curve.again is None else n - curve.again
    most = max(math.floor(MARGIN * n), own)
    good = [one for one in curve.points if one.n - one.agreed <= most]
    if not good:
        best = max(curve.points, key=lambda one: one.agreed)
        raise BadRequest(
            f"no tau agrees with the LLM on {n - most} of {n} prompts; most is {best.agreed} at "
            f"tau {best.tau:g}: try smaller --taus, or --agreement {max(0.01, best.agreed / n):.2g}"
        )
    best = _fastest(good)
    like = "" if most > own or not own else ", as the LLM agrees with itself with other draws"
    return Choice(
        best.tau,
        f"tau {best.tau:g} is the fastest of {_taus(len(good))} that agree on at least {n - most} "
        f"of {n}{like}{_times(best)}{_agreeing(best)}",
    )


def _fastest(points: Sequence[Point]) -> Point:
    """By speed-up where all have one (seconds may be of other rounds, on a busier machine), else by
    the LLM's share."""
    if all(one.speed_up is not None for one in points):
        return max(points, key=lambda one: one.speed_up or 0.0)
    return min(points, key=lambda one: one.llm_share)


def _taus(n: int) -> str:
    return "1 tau" if n == 1 else f"{n} taus"


def _times(point: Point) -> str:
    return f", {point.speed_up:.2f}x" if point.speed_up is not None else ""


def _agreeing(point: Point) -> str:
    low, high = (f"{100 * end:.0f}" for end in point.agreement)
    return f"; {point.agreed} of {point.n} answers agree (95 %: {low} to {high} %)"
