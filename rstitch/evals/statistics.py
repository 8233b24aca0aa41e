"""What a set of answers says, with intervals: accuracy, differences, speed-ups.

Problems are what is drawn at random, so samples of one problem are resampled together, and two
methods are compared on the same problems. Bootstraps are seeded: same records, same figures.

Two methods mostly agree, so few problems differ, and the normal interval of a mean is then far too
narrow (one loss of 300: from -0.9 points). `compare` inverts a score test instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Z_95 = 1.959964
"""Both ends."""
Z_95_ONE_SIDED = 1.6449
ROUNDS = 2000
MARGIN = 1.0
"""Points of accuracy within which a method counts as not worse."""
MOST_NEEDED = 10**9
"""More problems than that are never."""
BISECTIONS = 60
CHUNK = 2**22
"""Resampled numbers in memory at once."""

Interval = tuple[float, float]


def wilson(right: int, n: int, z: float = Z_95) -> Interval:
    """95 % interval of a share (Wilson 1927), for one sample per problem."""
    if n == 0:
        return 0.0, 1.0
    share, square = right / n, z * z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return 0.0 if right == 0 else low, 1.0 if right == n else high


def clustered(values: Sequence[Sequence[float]], rounds: int = ROUNDS) -> Interval:
    """95 % bootstrap interval of the mean of all values, problems drawn with all their samples."""
    sums, counts = np.array([sum(v) for v in values], float), np.array([len(v) for v in values])
    return _quantiles(_resampled_ratios(sums, counts.astype(float), rounds))


def ratio_interval(
    top: Sequence[float], bottom: Sequence[float], rounds: int = ROUNDS
) -> tuple[float, float, float]:
    """sum(top) / sum(bottom) with a 95 % bootstrap interval over problems (seed 0)."""
    a, b = np.asarray(top, float), np.asarray(bottom, float)
    low, high = _quantiles(_resampled_ratios(a, b, rounds))
    return float(a.sum() / b.sum()), low, high


def _resampled_ratios(top: np.ndarray, bottom: np.ndarray, rounds: int) -> np.ndarray:
    draws, n, size = np.random.default_rng(0), len(top), max(1, CHUNK // max(1, len(top)))
    found = []
    for start in range(0, rounds, size):
        pick = draws.integers(0, n, (min(size, rounds - start), n))
        found.append(top[pick].sum(1) / bottom[pick].sum(1))
    return np.concatenate(found)


def _quantiles(found: np.ndarray) -> Interval:
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


# -- one method against another on the same problems ----------------------------------------------


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Accuracy difference in points, and the lower end of its one-sided 95 % paired interval."""
    difference = 100 * (np.asarray(ours, float) - np.asarray(theirs, float))
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.inf
    mean = difference.mean()
    return float(mean), float(mean - Z_95_ONE_SIDED * error)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy of one method less that of another, per problem."""

    points: float
    low: float
    """Lower end of the one-sided 95 % interval; -100 for a single problem."""
    high: float
    """Upper end of the other; both are the ends of a two-sided 90 % interval."""
    p: float
    """Two-sided, by the signs of the problems that differ; not corrected for other comparisons."""
    verdict: Literal["not worse", "worse", "unclear"]
    """Within the margin; "unclear" where this many problems cannot show either."""
    n: int
    needed: int | None
    """Problems that would show "not worse" if the difference stays what it is; None for never."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How two methods differ, per problem, each from 0 to 1."""

    won: float
    lost: float
    square: float
    """Mean squared difference; won + lost where every answer is right or wrong."""

    @property
    def plain(self) -> bool:
        """One answer a problem, or as good as."""
        return math.isclose(self.square, self.won + self.lost)

    def low(self, n: int) -> float:
        """Lower end of the one-sided 95 % interval of won - lost on n problems."""
        if n < 2:
            return -1.0
        size = 1.0 if self.plain else self.square / (self.won + self.lost)
        found = size * tango_low(self.won * n / size, self.lost * n / size, n)
        # Means are small where nobody has yet lost a whole problem, which may come.
        return found if self.plain else min(found, self._padded_low(n))

    def _padded_low(self, n: int) -> float:
        """Of the mean, one more problem won and one lost (Bonett and Price 2012)."""
        mean = (self.won - self.lost) * n / (n + 2)
        error = math.sqrt(((self.square * n + 2) / (n + 2) - mean * mean) / (n + 2))
        return mean - Z_95_ONE_SIDED * error


def tango_low(won: float, lost: float, n: int) -> float:
    """Lower end of the one-sided 95 % score interval of a paired difference of shares (Tango 1998):
    problems won and lost, of n."""
    low, high = -1.0, (won - lost) / n
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        rejected = won - lost - n * middle > Z_95_ONE_SIDED * _score_error(won, lost, n, middle)
        low, high = (middle, high) if rejected else (low, middle)
    return low


def _score_error(won: float, lost: float, n: int, difference: float) -> float:
    """Standard error of won - lost if that is the true difference of shares, which is at most what
    was seen; all else as likely as may be."""
    b = (2 * n - won + lost) * difference - won - lost
    c = -lost * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)  # of problems lost
    return math.sqrt(max(0.0, n * (2 * share + difference * (1 - difference))))


def compare(ours: Sequence[float], theirs: Sequence[float], margin: float = MARGIN) -> Comparison:
    """Means per problem, 0 to 1, in the same order."""
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    won, lost = (float(np.maximum(d, 0).mean()) for d in (difference, -difference))
    rates = Rates(won, lost, float((difference * difference).mean()))
    n, points, low = len(ours), 100 * (won - lost), 100 * rates.low(len(ours))
    high = -100 * Rates(lost, won, rates.square).low(n)
    verdict: Literal["not worse", "worse", "unclear"] = "unclear"
    if low > -margin and n >= fewest(margin):
        verdict = "not worse"
    elif high < -margin:
        verdict = "worse"
    needed = None if n < 2 or points <= -margin else _needed(rates, margin)
    return Comparison(points, low, high, sign_test(ours, theirs), verdict, n, needed)


def fewest(margin: float = MARGIN) -> int:
    """Problems below which "not worse" cannot be shown even where none differs: as many as make a
    loss on `margin` percent of problems go unseen with probability 5 % at most."""
    return math.ceil(math.log(0.05) / math.log(1 - margin / 100))


def _needed(rates: Rates, margin: float) -> int | None:
    """The smallest number of problems that is enough at these rates, up to MOST_NEEDED."""
    low, high = fewest(margin) - 1, MOST_NEEDED
    if 100 * rates.low(high) <= -margin:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = 100 * rates.low(middle) > -margin
        low, high = (low, middle) if enough else (middle, high)
    return high


def sign_test(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Two-sided p that as many of the differing problems go one way by chance (exact; McNemar's
    test where each problem has one answer)."""
    wins = sum(a > b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a < b for a, b in zip(ours, theirs, strict=True))
    n = wins + losses
    tail, term = 0, 1
    for k in range(min(wins, losses) + 1):
        tail += term
        term = term * (n - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**n)) if n else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for there being several (Holm 1979), in the order given."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, most = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[i]))
        found[i] = most
    return found


# -- speed ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """How much less time ours takes than theirs, on the same problems."""

    ratio: float
    """Their seconds over ours, sums."""
    interval: Interval
    """95 %, over problems."""
    geometric: float
    """Mean over problems."""
    slower: float
    """Share of problems on which ours takes longer."""
    tokens: float
    """Factor of fewer tokens: theirs over ours."""
    per_token: float
    """Factor of cheaper tokens; the product of both is the ratio."""


def speed_up(
    theirs: Sequence[float],
    ours: Sequence[float],
    their_tokens: Sequence[float],
    our_tokens: Sequence[float],
) -> SpeedUp:
    """Seconds and tokens per problem, in the same order."""
    ratio, low, high = ratio_interval(theirs, ours)
    a, b = np.asarray(theirs, float), np.asarray(ours, float)
    tokens = float(np.sum(their_tokens)) / max(1.0, float(np.sum(our_tokens)))
    return SpeedUp(
        ratio=ratio,
        interval=(low, high),
        geometric=float(np.exp(np.log(a / b).mean())),
        slower=float((b > a).mean()),
        tokens=tokens,
        per_token=ratio / tokens,
    )
