"""Many copies of one pair behind a load balancer: nothing is shared, so rates add up, but answers
that are dealt at random leave some copies with many and others with few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rstitch.latency.plan import Level

REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many replicas with so many answers in flight on each, on average. Answers per second."""

    replicas: int
    in_flight: int
    even: float
    """Each replica has equally many."""
    at_random: float
    """Each answer goes to any replica: their numbers are Poisson's."""
    llms: int
    """Replicas of the LLM alone that do as much, evenly dealt."""


def fleet(levels: Sequence[Level], replicas: int = REPLICAS) -> list[Fleet]:
    """For every level."""
    known = [0, *(level.in_flight for level in levels)]
    rates = [0.0, *(level.stitched for level in levels)]
    return [
        Fleet(
            replicas,
            level.in_flight,
            replicas * level.stitched,
            replicas * _poisson(level.in_flight, known, rates),
            math.ceil(replicas * level.gain - 1e-9),
        )
        for level in levels
    ]


def _poisson(mean: int, known: Sequence[int], rates: Sequence[float]) -> float:
    """Mean rate of a replica; on lines between the levels, beyond the last as there."""
    counts = np.arange(int(mean + 10 * math.sqrt(mean)) + 2)
    logs = counts * math.log(mean) - mean - np.array([math.lgamma(n + 1) for n in counts])
    return float(np.exp(logs) @ np.interp(counts, known, rates))
