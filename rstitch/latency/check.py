"""Does the price of an answer hold? Replays of recorded answers beside their prices.

A machine drifts by more than a price is off, so each answer is replayed in several rounds that lie
apart, and what it takes is their mean. How far two of them differ is the noise floor: no price can
be nearer to one of them than they are to each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from rstitch.engine.engine import InProcessEngine
from rstitch.errors import BadRequest
from rstitch.latency.costs import PassCosts
from rstitch.latency.measure import Measuring, Tell, quiet
from rstitch.latency.price import price
from rstitch.latency.recorded import Recorded
from rstitch.latency.replay import replay

WITHIN, OF_FLOOR, WITHIN_P95 = 0.05, 1.5, 0.15
"""The median error may be this, or this many noise floors; the 95th percentile this."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One answer, in seconds of its passes."""

    predicted: float
    replays: tuple[float, ...]
    """Two at least, in the order in which they were run."""
    outside: int
    """Passes outside the measured grid."""

    @property
    def measured(self) -> float:
        return fmean(self.replays)

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1

    @property
    def noise(self) -> float:
        """How far the first two replays differ, of their mean."""
        first, second = self.replays[:2]
        return 2 * abs(first - second) / (first + second)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of all answers; shares, 0.05 is 5 %."""

    answers: int
    median: float
    """Of |predicted / measured - 1|."""
    p95: float
    bias: float
    """Sum of predicted over sum of measured, less 1."""
    floor: float
    """Median difference of two replays of one answer."""
    predicted: float
    """Median seconds of an answer."""
    measured: float
    outside: int
    """Answers with passes outside the measured grid."""
    replays: int = 2
    """Of an answer. The mean of more than two has less noise, so less is allowed."""

    @property
    def allowed(self) -> float:
        return max(WITHIN, OF_FLOOR * self.floor * math.sqrt(2 / self.replays))

    @property
    def holds(self) -> bool:
        return self.median <= self.allowed and self.p95 <= WITHIN_P95


def measured(
    measuring: Measuring, recorded: Sequence[Recorded], times: int = 2, tell: Tell = quiet
) -> tuple[PassCosts, list[Checked]]:
    """Measure, and after each round replay a part of the answers, each `times` times in all, in
    rounds that lie as far apart as they can; then price them. Two times and rounds at least."""
    times, rounds = max(2, times), max(2, measuring.rounds)
    measuring.rounds = rounds
    apart = max(1, rounds // times)
    seconds: list[list[float]] = [[] for _ in recorded]
    for at in range(rounds):
        measuring.round(tell)
        turns = {(at - turn * apart) % rounds for turn in range(min(times, rounds))}
        part = [number for number in range(len(recorded)) if number % rounds in turns]
        _replay(measuring.engine, recorded, part, seconds, tell)
    costs = measuring.costs()
    return costs, _priced(recorded, seconds, costs)


def against(
    engine: InProcessEngine, costs: PassCosts, recorded: Sequence[Recorded], tell: Tell = quiet
) -> list[Checked]:
    """Replay all answers, and all again, beside costs that were measured before."""
    seconds: list[list[float]] = [[] for _ in recorded]
    for _ in range(2):
        _replay(engine, recorded, range(len(recorded)), seconds, tell)
    return _priced(recorded, seconds, costs)


def verdict(checked: Sequence[Checked]) -> Verdict:
    """Raises BadRequest where nothing was checked."""
    if not checked:
        raise BadRequest("no answer was replayed; give more of them")
    off = [abs(one.error) for one in checked]
    return Verdict(
        answers=len(checked),
        median=float(np.median(off)),
        p95=float(np.quantile(off, 0.95)),
        bias=sum(c.predicted for c in checked) / sum(c.measured for c in checked) - 1,
        floor=float(np.median([one.noise for one in checked])),
        predicted=float(np.median([one.predicted for one in checked])),
        measured=float(np.median([one.measured for one in checked])),
        outside=sum(one.outside > 0 for one in checked),
        replays=min(len(one.replays) for one in checked),
    )


def _replay(
    engine: InProcessEngine,
    recorded: Sequence[Recorded],
    part: Sequence[int],
    seconds: Sequence[list[float]],
    tell: Tell,
) -> None:
    """Those answers once more."""
    for done, number in enumerate(part, 1):
        trace = recorded[number].trace
        if not any(seconds):
            replay(engine, trace.forwards, trace.sampling)  # memory grows, threads are tried
        seconds[number].append(replay(engine, trace.forwards, trace.sampling))
        tell("replaying answers", done, len(part))


def _priced(
    recorded: Sequence[Recorded], seconds: Sequence[Sequence[float]], costs: PassCosts
) -> list[Checked]:
    found = []
    for one, replays in zip(recorded, seconds, strict=True):
        told = price(one.trace.forwards, costs, beyond=True)
        found.append(Checked(told.passes, tuple(replays), told.outside))
    return found
