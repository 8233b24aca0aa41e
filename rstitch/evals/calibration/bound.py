"""Is one way to answer within a margin of another? A test that holds for any number of problems.

Each problem is won, lost or the same, so all that counts is (won, lost, n). What is to be ruled out
is a loss of `within` or more: E[won - lost] <= -within. The statistic is what the best constant bet
against that would have made in hindsight, in logs: sup over b of sum log(1 + b (x_i + within))
(Waudby-Smith and Ramdas 2024; Honda and Takemura 2010 call it KL_inf; it is the likelihood ratio of
the trinomial too). Its distribution is taken as it is, not in the limit: the largest probability of
as much or more under any pair of rates that is to be ruled out, as Hsueh, Liu and Chen (2001) do
with Tango's statistic. That needs a quarter to a half fewer problems than the same bet by Markov's
inequality, and where no problem differs it is 1 - (1 - within)^n >= confidence, which is optimal.

Why the largest is certain though one can only look at finitely many rates: a problem more won, or
one less lost, makes every bet's gain larger, so the outcomes as extreme as the one seen are an
upper set, and their probability rises with the rate of wins and falls with that of losses. On rates
of wins from a to b (and losses `within` above) it is at most what wins at b and losses at
a + within give; intervals are halved until that is sharp enough to tell.
"""

from __future__ import annotations

import heapq
import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

OMITTED = 1e-13
"""Probabilities below are left out of a sum, and added to its upper end as if they all counted."""
NARROWEST = 1e-2
"""Problems (width of an interval of rates times n) below which no interval is halved again."""
SLACK = 1e-9
"""Of the statistic: rounding may only make a region larger."""
MOST_NEEDED = 10**7
"""More problems than that are never."""


def shown(won: int, lost: int, n: int, within: float, confidence: float) -> bool:
    """Whether the outcome rules out, with that confidence, a true loss of `within` or more.

    won, lost: problems, of n. Where rates are exactly so far apart, or further, it is true with
    probability 1 - confidence at most.
    """
    if n < fewest(within, confidence) or lost >= won + within * n:
        return False
    gain, known = _gain(won, lost, n, within), _known(n, within, 1 - confidence)
    if known[0] < gain < known[1]:  # regions lie within each other, so the gain decides
        found = _shown(won, lost, n, within, 1 - confidence)
        known[int(found)] = gain
    return gain >= known[1]


def low(won: int, lost: int, n: int, confidence: float) -> float:
    """Lower end of the one-sided interval of won - lost as shares, to a hundredth of itself: minus
    the smallest margin found for which `shown` holds; -1 where there is none."""
    below = max(0.0, (lost - won) / n)
    above = max(below, 1 - math.pow(1 - confidence, 1 / n))
    while not shown(won, lost, n, above, confidence):
        below, above = above, 1.3 * above + 1e-4
        if above >= 1:
            return -1.0
    while above - below > 0.01 * above:
        middle = (below + above) / 2
        found = shown(won, lost, n, middle, confidence)
        below, above = (below, middle) if found else (middle, above)
    return -above


def fewest(within: float, confidence: float) -> int:
    """Problems below which nothing can be shown, even where none differs."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-within) - 1e-9)


def needed(won: int, lost: int, n: int, within: float, confidence: float) -> int | None:
    """About how many problems would show it if won and lost keep their shares; None for never."""
    if lost - won >= within * n:
        return None
    size = float(fewest(within, confidence))
    while size <= MOST_NEEDED:
        scale = size / n
        count = math.ceil(size)
        wins, losses = math.floor(won * scale), math.ceil(lost * scale)
        if 2 * _gain(wins, losses, count, within) >= _enough(confidence) and (
            count > EXACT or shown(wins, losses, count, within, confidence)
        ):
            return count
        size *= 1.1
    return None


EXACT = 5000
"""Problems from which on the limit law is close enough to say about how many are needed."""


# -- the test -------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _known(n: int, within: float, level: float) -> list[float]:
    """The largest gain known not to be enough, and the smallest known to be."""
    return [0.0, math.inf]


def _shown(won: int, lost: int, n: int, within: float, level: float) -> bool:
    """Halve intervals of the rate of wins, the one with the highest bound first."""
    fewest_wins = _region(won, lost, n, within)

    def interval(a: float, b: float) -> tuple[float, float, float]:
        return -_chance(fewest_wins, n, b, a + within), a, b  # a heap gives the smallest

    top = (1 - within) / 2
    edges = [0.0, *(top * 4.0**-k for k in range(int(math.log(n + 1, 4)) + 2, -1, -1))]
    open_ = [interval(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    heapq.heapify(open_)
    while -open_[0][0] > level:
        _, a, b = heapq.heappop(open_)
        middle = (a + b) / 2
        if (b - a) * n < NARROWEST or _chance(fewest_wins, n, middle, middle + within) > level:
            return False
        heapq.heappush(open_, interval(a, middle))
        heapq.heappush(open_, interval(middle, b))
    return True


def _region(won: int, lost: int, n: int, within: float) -> np.ndarray:
    """[n + 1]: for each number of losses the fewest wins that are as extreme as the outcome; more
    than there are problems left where none is."""
    least = _gain(won, lost, n, within) - SLACK
    losses = np.arange(n + 1)
    below, above = np.full(n + 1, -1), n - losses + 1
    while np.any(above - below > 1):
        middle = np.clip((below + above) // 2, 0, n - losses)
        enough = _gains(middle, losses, n, within) >= least
        open_ = above - below > 1
        above = np.where(open_ & enough, middle, above)
        below = np.where(open_ & ~enough, middle, below)
    return above


def _gain(won: int, lost: int, n: int, within: float) -> float:
    return float(_gains(np.array([won]), np.array([lost]), n, within)[0])


def _gains(won: np.ndarray, lost: np.ndarray, n: int, within: float) -> np.ndarray:
    """Log gain of the best bet: n times the divergence from the likeliest rates that are `within`
    apart, in closed form (Tango 1998); 0 where the outcome itself lies on the wrong side."""
    w, l = won.astype(float), lost.astype(float)  # noqa: E741  # as in the head of this file
    b = -(2 * n - w + l) * within - w - l
    c = l * within * (1 + within)
    losing = (np.sqrt(np.maximum(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    rates = (np.maximum(0.0, losing - within), losing, np.maximum(0.0, 1 - 2 * losing + within))
    gain = np.zeros_like(w)
    for count, rate in zip((w, l, n - w - l), rates, strict=True):
        some = count > 0
        ratio = np.where(some, count, 1.0) / np.where(some, np.maximum(n * rate, 1e-300), 1.0)
        gain += np.where(some, count * np.log(ratio), 0.0)
    return np.where(w - l > -n * within, np.maximum(gain, 0.0), 0.0)


def _chance(fewest_wins: np.ndarray, n: int, winning: float, losing: float) -> float:
    """Probability, at these rates, of at least as many wins as the region asks for each number of
    losses; what is left out of the sum counts in full."""
    lost = _binomial(n, min(1.0, losing))
    l = np.flatnonzero(lost > OMITTED)  # noqa: E741
    w = np.flatnonzero(_binomial(n, winning) > OMITTED)
    share = min(1.0, winning / max(1 - losing, 1e-300))
    left = n - l[:, None]
    inside = (w[None, :] >= fewest_wins[l][:, None]) & (w[None, :] <= left)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = _log_choose(left, np.minimum(w[None, :], left), n)
        logs = logs + _times_log(w, share)[None, :] + _times_log(left - w[None, :], 1 - share)
        tail = np.where(inside, np.exp(np.where(inside, logs, 0.0)), 0.0).sum(1)
    return float((lost[l] * tail).sum()) + 2 * n * OMITTED


def _binomial(n: int, rate: float) -> np.ndarray:
    """[n + 1] probabilities."""
    k = np.arange(n + 1)
    logs = _log_choose(np.array(n), k, n) + _times_log(k, rate) + _times_log(n - k, 1 - rate)
    return np.asarray(np.exp(logs))


def _times_log(count: np.ndarray, rate: float) -> np.ndarray:
    """count log(rate), with 0 log 0 = 0."""
    if rate <= 0:
        return np.where(count == 0, 0.0, -np.inf)
    return count * math.log(rate)


def _log_choose(n: np.ndarray, k: np.ndarray, most: int) -> np.ndarray:
    logs = _log_factorials(most)
    return np.asarray(logs[n] - logs[k] - logs[n - k])


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])


def _enough(confidence: float) -> float:
    """Twice the gain that is enough in the limit: the square of a normal quantile."""
    return float(NormalDist().inv_cdf(confidence) ** 2) if confidence > 0.5 else 0.0
