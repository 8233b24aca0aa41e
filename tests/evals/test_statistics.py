"""Intervals and comparisons: figures worked by hand, published ones, simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rstitch.evals import statistics as st


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (10, 20, 0.299298, 0.700702),  # centre stays at 1/2; half width sqrt(z2/(4(n+z2)))
        (0, 10, 0.0, 0.277533),  # z2 / (n + z2)
        (10, 10, 0.722467, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),  # the same
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(right: int, n: int, low: float, high: float) -> None:
    assert st.wilson(right, n) == pytest.approx((low, high), abs=5e-5)


def test_samples_of_one_problem_are_not_independent() -> None:
    """Four copies of every answer say no more than one: the interval stays as wide."""
    once = [[float(i % 2)] for i in range(100)]
    copied = [v * 4 for v in once]
    low, high = st.clustered(copied)
    assert (low, high) == pytest.approx(st.clustered(once), abs=1e-12)
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.1)


def test_a_problem_with_more_samples_weighs_more() -> None:
    low, high = st.clustered([[1.0, 1.0, 1.0], [0.0]] * 200)
    assert low < 0.75 < high


def test_the_clustered_interval_covers() -> None:
    """95 % nominal: of 200 sets of 60 problems with 3 samples each, 90 to 99 % hold the truth."""
    draws, held = np.random.default_rng(1), 0
    for _ in range(200):
        skill = draws.beta(2, 1, 60)  # mean 2/3
        values = (draws.random((60, 3)) < skill[:, None]).astype(float).tolist()
        low, high = st.clustered(values, rounds=400)
        held += low <= 2 / 3 <= high
    assert 180 <= held <= 198, held


def test_the_ratio_of_sums() -> None:
    ratio, low, high = st.ratio_interval([4.0, 6.0, 10.0], [1.0, 2.0, 2.0])
    assert ratio == 4.0 and 3.0 <= low <= ratio <= high <= 5.0
    assert st.ratio_interval([2.0] * 9, [1.0] * 9) == (2.0, 2.0, 2.0)


def test_more_problems_than_fit_at_once_are_resampled_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [[float(i % 3 == 0)] for i in range(300)]
    whole = st.clustered(values)
    monkeypatch.setattr(st, "CHUNK", 300 * 7)
    assert st.clustered(values) == pytest.approx(whole, abs=0.02)


# -- comparisons ----------------------------------------------------------------------------------


def marks(wins: int, losses: int, n: int) -> tuple[list[float], list[float]]:
    """Ours and theirs: right on the same problems but for these."""
    ours = [1.0] * wins + [0.0] * losses + [1.0] * (n - wins - losses)
    theirs = [0.0] * wins + [1.0] * losses + [1.0] * (n - wins - losses)
    return ours, theirs


def test_the_paired_difference_by_hand() -> None:
    """1 win and 3 losses of 100: mean -2 points, variance (4 - 0.04) / 99 points² / 10⁻⁴."""
    mean, low = st.paired_difference(*marks(1, 3, 100))
    assert mean == pytest.approx(-2.0)
    error = 100 * math.sqrt((4 - 100 * 0.02**2) / 99) / 10
    assert low == pytest.approx(-2.0 - 1.6449 * error)


@pytest.mark.parametrize(
    ("wins", "losses", "n", "verdict"),
    [
        (40, 50, 4000, "not worse"),  # -0.25 points, lower end -0.64
        (40, 60, 4000, "not worse"),  # -0.5, -0.91
        (40, 66, 4000, "unclear"),  # -0.65, -1.07
        (10, 90, 4000, "worse"),
        (0, 0, 10, "unclear"),  # none differs, and ten problems show nothing
        (0, 0, 298, "unclear"),
        (0, 0, 299, "not worse"),
        (5, 6, 30, "unclear"),
    ],
)
def test_not_worse_within_a_point(wins: int, losses: int, n: int, verdict: str) -> None:
    found = st.compare(*marks(wins, losses, n))
    assert (found.verdict, found.n) == (verdict, n), found


def test_how_many_problems_would_be_needed() -> None:
    """-0.65 points with errors of 0.42 points on 4,000 problems: that has to shrink to 0.35, a bit
    more for the score's own error. Of as many at the same rates the lower end is at the margin."""
    found = st.compare(*marks(40, 66, 4000))
    assert found.needed is not None
    assert found.needed == pytest.approx(4000 * (0.4235 / 0.35) ** 2, rel=0.05)
    low = 100 * st.tango_low(0.01 * found.needed, 0.0165 * found.needed, found.needed)
    assert low == pytest.approx(-1.0, abs=1e-3)
    again = st.compare(*(values * 2 for values in marks(40, 66, 4000)))
    assert again.verdict == "not worse" and found.needed < 8000
    assert st.compare(*marks(0, 100, 4000)).needed is None
    assert st.compare(*marks(0, 0, 10)).needed == 299 == st.fewest()
    few = st.compare(*marks(0, 1, 300)).needed
    assert few is not None and few > 300


def test_one_loss_of_300_is_not_enough() -> None:
    """The normal interval of the mean ended at -0.88 there. By hand, where none differs: the score
    test rejects a loss of d where n d^2 > z^2 d (1 - d), so the end is z^2 / (n + z^2)."""
    none, one = (st.compare(*marks(0, losses, 300)) for losses in (0, 1))
    assert (none.verdict, one.verdict) == ("not worse", "unclear"), one
    square = 1.6449**2
    assert none.low == pytest.approx(-100 * square / (300 + square), rel=1e-6)
    difference = one.low / 100  # a loss of d expects 300 d losses with variance 300 d (1 - d)
    assert (1 + 300 * difference) ** 2 == pytest.approx(
        -square * 300 * difference * (1 + difference), rel=1e-3
    )


def test_the_score_interval_solves_its_equation() -> None:
    """At its end what was seen is 1.645 errors above what would be expected there."""
    for won, lost, n in ((3, 9, 44), (0, 4, 500), (9, 3, 44)):
        low = st.tango_low(won, lost, n)
        error = st._score_error(won, lost, n, low)
        assert won - lost - n * low == pytest.approx(1.6449 * error, rel=1e-6)
        assert low < (won - lost) / n


@pytest.mark.parametrize("n", [300, 450, 1000, 3000])
@pytest.mark.parametrize("won", [0.0, 0.005, 0.03])
def test_a_method_that_is_a_point_worse_is_hardly_ever_not_worse(n: int, won: float) -> None:
    """5 % nominal. The true odds are 6.5 % at most, for counts are whole; 4,000 seeded runs stray
    by 0.4 points (one sigma), so 8.2 % is four sigma off. The normal interval has up to 20 %."""
    draws = np.random.default_rng(7)
    runs = draws.multinomial(n, [won, won + 0.01, 0.99 - 2 * won], 4000)
    counts: dict[tuple[int, int], int] = {}
    for wins, losses, _ in runs.tolist():
        counts[wins, losses] = counts.get((wins, losses), 0) + 1
    wrong = sum(
        times
        for (wins, losses), times in counts.items()
        if st.compare(*marks(wins, losses, n)).verdict == "not worse"
    )
    assert wrong / 4000 < 0.082, wrong


def test_means_over_samples_are_no_more_daring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples a problem; 0.8 % of problems lose all of them, 0.8 % one: a point worse in all.
    Where the whole losses do not show, the few small ones must not pass for all there is. 5 %
    nominal, 6 % true; of 1,500 runs 8 % is more than three sigma off."""
    monkeypatch.setattr(st, "sign_test", lambda *_: 1.0)
    draws, wrong = np.random.default_rng(3), 0
    for _ in range(1500):
        lost = draws.choice([0.0, 0.25, 1.0], 300, p=[0.984, 0.008, 0.008])
        wrong += st.compare((1 - lost).tolist(), [1.0] * 300).verdict == "not worse"
    assert wrong / 1500 < 0.08, wrong
    assert st.compare([1.0] * 299 + [0.75], [1.0] * 300).verdict == "not worse"
    assert st.compare([1.0] * 380 + [0.75, 0.0], [1.0] * 382).verdict == "unclear"


def test_a_single_problem_shows_nothing() -> None:
    for ours in ([1.0], [0.0]):
        found = st.compare(ours, [1.0])
        assert (found.verdict, found.low, found.needed) == ("unclear", -100.0, None)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (0, 1, 1.0)],
)
def test_the_sign_test_by_hand(wins: int, losses: int, p: float) -> None:
    assert st.sign_test(*marks(wins, losses, 20)) == pytest.approx(p)


def test_the_sign_test_of_many() -> None:
    """500 against 600 of 1,100: z = 100 / sqrt(1100) = 3.015, p about 0.0026."""
    assert st.sign_test(*marks(500, 600, 2000)) == pytest.approx(0.00283, abs=2e-4)


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, then 0.04 x 1, none below the one before."""
    assert st.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert st.holm([0.5, 0.9]) == [1.0, 1.0] and st.holm([]) == []


def test_a_speed_up_and_its_two_factors() -> None:
    """10 s and 100 tokens against 4 s and 50 tokens: 2.5 = 2 x 1.25; one of three is slower."""
    found = st.speed_up([6.0, 2.0, 2.0], [1.0, 2.5, 0.5], [60, 20, 20], [20, 20, 10])
    assert (found.ratio, found.tokens, found.per_token) == pytest.approx((2.5, 2.0, 1.25))
    assert found.geometric == pytest.approx((6.0 * 0.8 * 4.0) ** (1 / 3))
    assert found.slower == pytest.approx(1 / 3)
    assert found.interval[0] <= 2.5 <= found.interval[1]
