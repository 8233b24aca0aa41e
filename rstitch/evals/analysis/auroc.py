"""How well a number tells positives from controls: the area under the ROC curve.

It is the probability that a positive lies above a control, ties counted half. Values of one problem
belong together, so its interval resamples problems with all their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rstitch.evals.statistics import ROUNDS, Interval


@dataclass(frozen=True, slots=True)
class Cluster:
    """The values of one problem."""

    positives: Sequence[float]
    controls: Sequence[float]


def auroc(clusters: Sequence[Cluster]) -> tuple[float, Interval] | tuple[None, None]:
    """The area over all pairs, within problems and across them, and its 95 % bootstrap interval
    (seed 0); None where one of the two kinds is missing. Values that are no number do not count."""
    kept = [Cluster(_numbers(one.positives), _numbers(one.controls)) for one in clusters]
    kept = [one for one in kept if len(one.positives) or len(one.controls)]
    positives = np.array([len(one.positives) for one in kept], float)
    controls = np.array([len(one.controls) for one in kept], float)
    if not positives.sum() or not controls.sum():
        return None, None
    wins = np.array([[_wins(a, b) for b in kept] for a in kept])
    area = wins.sum() / (positives.sum() * controls.sum())
    times = np.random.default_rng(0).multinomial(
        len(kept), np.full(len(kept), 1 / len(kept)), ROUNDS
    )
    drawn = ((times @ wins) * times).sum(1)
    pairs = (times @ positives) * (times @ controls)
    low, high = np.quantile(drawn[pairs > 0] / pairs[pairs > 0], [0.025, 0.975])
    return float(area), (float(low), float(high))


def _numbers(values: Sequence[float]) -> list[float]:
    return [value for value in values if not np.isnan(value)]


def _wins(above: Cluster, below: Cluster) -> float:
    """Pairs in which a positive of the one lies above a control of the other."""
    a, b = np.array(above.positives)[:, None], np.array(below.controls)[None, :]
    return float((a > b).sum() + (a == b).sum() / 2)
