"""Does the price of an answer hold? Replays of recorded answers beside their prices.

Each answer is replayed twice. How far the two differ is the noise floor: no price can be nearer to
one of them than they are to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    first: float
    second: float
    outside: int
    """Passes outside the measured grid."""

    @property
    def measured(self) -> float:
        return (self.first + self.second) / 2

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1

    @property
    def noise(self) -> float:
        """How far the replays differ, of their mean."""
        return abs(self.first - self.second) / self.measured


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

    @property
    def allowed(self) -> float:
        return max(WITHIN, OF_FLOOR * self.floor)

    @property
    def holds(self) -> bool:
        return self.median <= self.allowed and self.p95 <= WITHIN_P95


def measured(
    measuring: Measuring, recorded: Sequence[Recorded], tell: Tell = quiet
) -> tuple[PassCosts, list[Checked]]:
    """Measure, and between the rounds replay a part of the answers; then price them all."""
    replayed, rounds = list[tuple[float, float]](), measuring.rounds
    for at in range(rounds):
        measuring.round(tell)
        part = recorded[len(replayed) : (at + 1) * len(recorded) // rounds]
        replayed += _replayed(measuring.engine, part, tell, len(replayed), len(recorded))
    costs = measuring.costs()
    return costs, _priced(recorded, replayed, costs)


def against(
    engine: InProcessEngine, costs: PassCosts, recorded: Sequence[Recorded], tell: Tell = quiet
) -> list[Checked]:
    """Replay the answers beside costs that were measured before."""
    replayed = _replayed(engine, recorded, tell, 0, len(recorded))
    return _priced(recorded, replayed, costs)


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
    )


def _replayed(
    engine: InProcessEngine, part: Sequence[Recorded], tell: Tell, done: int, total: int
) -> list[tuple[float, float]]:
    found = []
    for at, one in enumerate(part, 1):
        forwards, sampling = one.trace.forwards, one.trace.sampling
        if not done and at == 1:
            replay(engine, forwards, sampling)  # memory grows, threads are tried
        found.append((replay(engine, forwards, sampling), replay(engine, forwards, sampling)))
        tell("replaying answers", done + at, total)
    return found


def _priced(
    recorded: Sequence[Recorded], replayed: Sequence[tuple[float, float]], costs: PassCosts
) -> list[Checked]:
    found = []
    for one, (first, second) in zip(recorded, replayed, strict=True):
        told = price(one.trace.forwards, costs, beyond=True)
        found.append(Checked(told.passes, first, second, told.outside))
    return found
