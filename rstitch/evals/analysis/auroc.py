"""How well a number tells positives from controls of their kind: the area under the ROC curve.

It is the probability that a positive lies above a control of the same kind, ties counted half; each
positive counts as much, however many controls its kind has. Values of one problem belong together,
so its interval resamples problems with all their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rstitch.evals.statistics import CHUNK, ROUNDS, Interval

Values = Mapping[str, Sequence[float]]
"""By kind. NaN does not count."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The values of one problem."""

    positives: Values = field(default_factory=dict)
    controls: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Values of one kind, and the number of the cluster that each is from."""

    positives: np.ndarray
    owners: np.ndarray
    controls: np.ndarray
    """Sorted."""
    control_owners: np.ndarray

    def wins(self, times: np.ndarray) -> np.ndarray:
        """Pairs that a positive wins, clusters taken `times` (rounds, clusters): (rounds,)."""
        taken = np.pad(np.cumsum(times[:, self.control_owners], axis=1), ((0, 0), (1, 0)))
        least = np.searchsorted(self.controls, self.positives, "left")
        most = np.searchsorted(self.controls, self.positives, "right")
        below = (taken[:, least] + taken[:, most]) / 2
        found: np.ndarray = (times[:, self.owners] * below).sum(1)
        return found

    def sizes(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many positives and controls are taken: (rounds,) each."""
        return times[:, self.owners].sum(1), times[:, self.control_owners].sum(1)


def auroc(clusters: Sequence[Cluster]) -> tuple[float, Interval] | tuple[None, None]:
    """The area, over pairs within problems and across them, and its 95 % bootstrap interval (seed
    0); None where no positive has a control."""
    kinds = [kind for name in _names(clusters) if (kind := _kind(clusters, name)) is not None]
    if not kinds:
        return None, None
    (area,) = _areas(kinds, np.ones((1, len(clusters)), dtype=np.int64))
    size = max(1, CHUNK // (1 + max(len(kind.controls) for kind in kinds)))
    drawn = np.concatenate([_areas(kinds, times) for times in _drawn(len(clusters), size)])
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(area), (float(low), float(high))


def _areas(kinds: Sequence[_Kind], times: np.ndarray) -> np.ndarray:
    """NaN for a draw in which no positive has a control."""
    above, counted = np.zeros(len(times)), np.zeros(len(times))
    for kind in kinds:
        positives, controls = kind.sizes(times)
        above += kind.wins(times) / np.maximum(controls, 1)
        counted += np.where(controls > 0, positives, 0)
    found: np.ndarray = np.where(counted > 0, above / np.maximum(counted, 1), np.nan)
    return found


def _drawn(n: int, size: int) -> Iterator[np.ndarray]:
    """How often each of n clusters is taken, at most `size` rounds at a time."""
    draws, shares = np.random.default_rng(0), np.full(n, 1 / n)
    for start in range(0, ROUNDS, size):
        yield draws.multinomial(n, shares, min(size, ROUNDS - start))


def _names(clusters: Sequence[Cluster]) -> list[str]:
    return sorted({name for one in clusters for name in one.positives})


def _kind(clusters: Sequence[Cluster], name: str) -> _Kind | None:
    positives, owners = _owned([one.positives.get(name, ()) for one in clusters])
    controls, control_owners = _owned([one.controls.get(name, ()) for one in clusters])
    if not positives.size or not controls.size:
        return None
    order = np.argsort(controls, kind="stable")
    return _Kind(positives, owners, controls[order], control_owners[order])


def _owned(values: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array([value for some in values for value in some], float)
    owners = np.repeat(np.arange(len(values)), [len(some) for some in values])
    kept = ~np.isnan(flat)
    return flat[kept], owners[kept]
