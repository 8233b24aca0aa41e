"""The bound of a calibration: by hand, against every outcome of a small case, and its coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rstitch.evals.calibration import bound


def test_without_a_difference_it_is_the_binomial_argument() -> None:
    """0.99^299 = 0.0495 and 0.99^298 = 0.0500..., so 299 problems show it and 298 do not."""
    assert bound.fewest(0.01, 0.95) == 299 and bound.fewest(0.1, 0.9) == 22
    assert bound.shown(0, 0, 299, 0.01, 0.95) and not bound.shown(0, 0, 298, 0.01, 0.95)
    assert bound.low(0, 0, 299, 0.95) == pytest.approx(-(1 - 0.05 ** (1 / 299)), rel=0.02)


@pytest.mark.parametrize("n", [300, 500, 1000])
def test_a_loss_more_needs_a_win_or_more_problems(n: int) -> None:
    """More won, fewer lost or a wider margin never turn what is shown into what is not."""
    found = {(w, k): bound.shown(w, k, n, 0.01, 0.95) for w in range(6) for k in range(6)}
    for (won, lost), shown in found.items():
        assert found.get((won + 1, lost), True) >= shown, (won, lost)
        assert found.get((won, lost - 1), True) >= shown, (won, lost)
        assert bound.shown(won, lost, n, 0.015, 0.95) >= shown
    assert found[0, 0] and not found[0, 5]


@pytest.mark.parametrize(("n", "within", "confidence"), [(40, 0.1, 0.95), (60, 0.05, 0.9)])
def test_the_error_is_at_most_what_was_promised(n: int, within: float, confidence: float) -> None:
    """The probability of every outcome that is taken, summed, at rates that are to be ruled out."""
    outcomes = [(w, k) for k in range(n + 1) for w in range(n + 1 - k)]
    taken = [(w, k) for w, k in outcomes if bound.shown(w, k, n, within, confidence)]
    worst = 0.0
    for winning in np.linspace(0, (1 - within) / 2, 60):
        rates = (winning, winning + within, 1 - 2 * winning - within)
        error = sum(trinomial((w, k, n - w - k), rates) for w, k in taken)
        assert error <= 1 - confidence + 1e-9, winning
        worst = max(worst, error)
    assert worst > 0.6 * (1 - confidence), "it throws away little of what it may use"


def trinomial(counts: tuple[int, int, int], rates: tuple[float, ...]) -> float:
    logs = math.lgamma(sum(counts) + 1)
    for count, rate in zip(counts, rates, strict=True):
        if count and rate <= 1e-12:
            return 0.0
        logs += (count * math.log(rate) if count else 0.0) - math.lgamma(count + 1)
    return math.exp(logs)


def test_how_many_are_needed() -> None:
    assert bound.needed(0, 0, 20, 0.01, 0.95) == 299
    assert bound.needed(0, 2, 100, 0.01, 0.95) is None, "twice the margin is lost"
    found = bound.needed(5, 5, 400, 0.01, 0.95)
    assert found is not None and 400 < found < 4000


def test_the_lower_end_is_where_it_begins_to_be_shown() -> None:
    for won, lost, n in ((0, 1, 400), (4, 2, 500), (3, 9, 200)):
        low = bound.low(won, lost, n, 0.95)
        assert low < (won - lost) / n and bound.shown(won, lost, n, -low, 0.95)
        assert not bound.shown(won, lost, n, -low * 0.97, 0.95)


# -- coverage ------------------------------------------------------------------------------------

CALIBRATIONS = 200
MOST_WRONG = 22
"""Of 200, where each is wrong with probability 5 %: more come once in 5,000 (binomial)."""
SCENARIOS = {
    "on the boundary, few differ": [(0.000, 0.01), (0.002, 0.012), (0.01, 0.02)],
    "on the boundary, many differ": [(0.04, 0.05), (0.06, 0.07), (0.1, 0.11)],
    "good, then just beyond": [(0.004, 0.002), (0.005, 0.009), (0.004, 0.0145), (0.01, 0.05)],
    "all good": [(0.01, 0.005), (0.01, 0.008), (0.01, 0.01)],
    "bad, then good": [(0.001, 0.012), (0.02, 0.01)],
}
"""Rates of problems won and lost at each tau, smallest tau first; a loss of 0.01 is too much."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_cards_are_right_as_often_as_they_say(name: str) -> None:
    """200 calibrations of 600 problems, whose outcomes at the taus hang together: one number per
    problem says how hard it is, so that it is lost at all taus or at the later ones."""
    rates, draws = SCENARIOS[name], np.random.default_rng(7)
    wrong = cards = 0
    for _ in range(CALIBRATIONS):
        hard = draws.random(600)
        chosen = None
        for winning, losing in rates:
            won, lost = int((hard > 1 - winning).sum()), int((hard < losing).sum())
            if not bound.shown(won, lost, 600, 0.01, 0.95):
                break
            chosen = losing - winning
        cards += chosen is not None
        wrong += chosen is not None and chosen >= 0.01 - 1e-12
    assert wrong <= MOST_WRONG, (wrong, cards)
    if name in ("all good", "good, then just beyond"):
        assert cards > 60, "and it is of use"
