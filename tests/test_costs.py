"""When the LLM should run, against published figures and an exact solver; what is learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstitch.costs import (
    LinearCosts,
    ObservedCosts,
    ObservedRates,
    WaitingTable,
    best_threshold,
    load_profile,
    save_profile,
    throughput,
)
from rstitch.errors import BadRequest
from rstitch.types import Side

Cost = Callable[[Side, int], float]

# Throughput over the LLM alone at the same N: share, p, q, ratio, then N=1, and eager and optimal
# for N = 4, 8, 16. From an independent solution by value iteration (facts/scheduling.md).
TABLE = [
    (0.12, 0.04, 0.3, 4, 2.85, (1.46, 1.90), (0.93, 1.78), (0.60, 1.75)),
    (0.12, 0.04, 0.3, 10, 4.69, (1.82, 3.10), (1.07, 2.90), (0.65, 2.86)),
    (0.12, 0.04, 0.3, 20, 5.96, (1.99, 4.14), (1.13, 3.90), (0.67, 3.83)),
    (0.22, 0.10, 0.4, 4, 2.30, (1.01, 1.53), (0.65, 1.45), (0.44, 1.44)),
    (0.22, 0.10, 0.4, 10, 3.29, (1.17, 2.32), (0.71, 2.20), (0.47, 2.17)),
    (0.22, 0.10, 0.4, 20, 3.83, (1.23, 2.92), (0.73, 2.78), (0.48, 2.75)),
    (0.52, 0.35, 0.5, 4, 1.42, (0.61, 1.06), (0.45, 1.02), (0.37, 1.01)),
    (0.52, 0.35, 0.5, 10, 1.69, (0.66, 1.41), (0.47, 1.34), (0.38, 1.33)),
    (0.52, 0.35, 0.5, 20, 1.80, (0.68, 1.63), (0.48, 1.55), (0.39, 1.53)),
]
DIGIT = 0.01
"""One unit of the last printed digit."""


def costs_of(ratio: float) -> Cost:
    """c_S(rows) = 1 + 0.01 rows, c_L = ratio * c_S."""
    return LinearCosts((1.0, ratio), (0.01, 0.01 * ratio)).seconds


def gain(n: int, threshold: int, p: float, q: float, cost: Cost) -> float:
    """Over the LLM alone with as many rows in flight."""
    return throughput(n, threshold, p, q, cost) / (n / cost(Side.LLM, n))


def best_gain(n: int, p: float, q: float, cost: Cost) -> float:
    return gain(n, best_threshold(n, p, q, cost), p, q, cost)


# -- published figures ----------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"share {row[0]}, ratio {row[3]}")
def test_the_published_table(row: tuple) -> None:
    share, p, q, ratio, single, *many = row
    cost = costs_of(ratio)
    assert (1 / q) / ((1 - p) / p + 1 / q) == pytest.approx(share, abs=DIGIT)
    got = [gain(1, 1, p, q, cost)]
    want = [single]
    for n, (eager, optimal) in zip((4, 8, 16), many, strict=True):
        got += [gain(n, 1, p, q, cost), best_gain(n, p, q, cost)]
        want += [eager, optimal]
    assert got == pytest.approx(want, abs=DIGIT)


@pytest.mark.parametrize(
    ("p", "q", "ratio", "n", "figure"),
    [(0.12, 0.4, 20.7, 4, 2.69), (0.12, 0.4, 20.7, 16, 2.50), (0.12, 0.4, 13.5, 4, 2.30)]
    + [(0.12, 0.4, 13.5, 16, 2.20)],
)
def test_the_figures_in_the_text(p: float, q: float, ratio: float, n: int, figure: float) -> None:
    assert best_gain(n, p, q, costs_of(ratio)) == pytest.approx(figure, abs=DIGIT)


@pytest.mark.parametrize(("n", "threshold"), [(4, 3), (8, 6), (16, 12)])
def test_the_thresholds_in_the_text(n: int, threshold: int) -> None:
    """Share 22 %, ratio 10: run the LLM from 3 of 4, 6 of 8, 12 of 16."""
    assert best_threshold(n, 0.10, 0.4, costs_of(10)) == threshold


def test_more_should_wait_the_dearer_the_llm_and_the_larger_its_share() -> None:
    """Of sixteen rows, from 8 to 16: rows are cost ratios 4, 10, 20, columns LLM shares."""
    rates = [(0.04, 0.3), (0.10, 0.4), (0.35, 0.5)]
    table = [[best_threshold(16, p, q, costs_of(ratio)) for p, q in rates] for ratio in (4, 10, 20)]
    for line in (*table, *zip(*table, strict=True)):
        assert list(line) == sorted(line), table
    assert table[0][0] >= 8 and table[-1][-1] <= 16, table


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.4), (0.5, 0.25), (0.9, 0.05)])
def test_one_row_by_the_closed_form(p: float, q: float) -> None:
    """(1/p - 1 + 1/q) tokens take L0/p + L1/q seconds."""
    cost = LinearCosts((3e-3, 20e-3), (0.0, 0.0)).seconds
    want = (1 / p - 1 + 1 / q) / (3e-3 / p + 20e-3 / q)
    assert throughput(1, 1, p, q, cost) == pytest.approx(want, rel=1e-9)


# -- the optimum ----------------------------------------------------------------------------------


def binomial(n: int, p: float) -> np.ndarray:
    """By repeated convolution, not by the formula that the code uses."""
    row = np.ones(1)
    for _ in range(n):
        row = np.convolve(row, [1 - p, p])
    return row


def value_iteration(n: int, p: float, q: float, cost: Cost) -> float:
    """The best tokens per second over all policies (any action in any state, not only thresholds),
    to a relative 1e-7: Schweitzer's transformation of the semi-Markov process."""
    chains, tokens, seconds = (
        np.zeros((2, n + 1, n + 1)),
        np.zeros((2, n + 1)),
        np.zeros((2, n + 1)),
    )
    for waiting in range(n + 1):
        writing = n - waiting
        if writing:
            chains[0, waiting, waiting:] = binomial(writing, p)
            tokens[0, waiting], seconds[0, waiting] = writing * (1 - p), cost(Side.SLM, writing)
        if waiting:
            chains[1, waiting, : waiting + 1] = binomial(waiting, q)[::-1]
            tokens[1, waiting], seconds[1, waiting] = waiting, cost(Side.LLM, waiting)
    idle = seconds == 0
    seconds[idle] = 1.0
    tick = 0.9 * seconds.min()
    rewards = np.where(idle, -np.inf, tokens / seconds)
    moves = (tick / seconds)[..., None] * (chains - np.eye(n + 1)) + np.eye(n + 1)
    value = np.zeros(n + 1)
    for _ in range(200_000):
        new = (rewards * tick + moves @ value).max(0)
        low, high = (new - value).min() / tick, (new - value).max() / tick
        value = new - new[0]
        if high - low < 1e-7 * high:
            return float(high)
    raise AssertionError(f"no convergence: {low} to {high}")


def random_parameters(seed: int) -> tuple[int, float, float, Cost]:
    random = np.random.default_rng(seed)
    p, q = random.uniform(0.02, 0.7, 2)
    base = (1.0, random.uniform(1.0, 30.0))
    per_row = (random.uniform(0, 0.3), base[1] * random.uniform(0, 0.3))
    return int(random.integers(2, 13)), float(p), float(q), LinearCosts(base, per_row).seconds


@pytest.mark.parametrize("seed", range(12))
def test_the_best_threshold_is_the_optimum_of_all_policies(seed: int) -> None:
    n, p, q, cost = random_parameters(seed)
    threshold = best_threshold(n, p, q, cost)
    best, exact = throughput(n, threshold, p, q, cost), value_iteration(n, p, q, cost)
    assert best == pytest.approx(exact, rel=1e-6), f"n={n} p={p} q={q}, from {threshold} on"


def by_least_squares(n: int, threshold: int, p: float, q: float, cost: Cost) -> float:
    """The same chain, row by row, its stationary distribution by a decomposition."""
    chain, tokens, seconds = np.zeros((n + 1, n + 1)), np.zeros(n + 1), np.zeros(n + 1)
    for waiting in range(n + 1):
        if waiting >= threshold or waiting == n:
            chain[waiting, : waiting + 1] = binomial(waiting, q)[::-1]
            tokens[waiting], seconds[waiting] = waiting, cost(Side.LLM, waiting)
        else:
            chain[waiting, waiting:] = binomial(n - waiting, p)
            tokens[waiting] = (n - waiting) * (1 - p)
            seconds[waiting] = cost(Side.SLM, n - waiting)
    system = np.vstack([chain.T - np.eye(n + 1), np.ones(n + 1)])
    often = np.linalg.lstsq(system, np.append(np.zeros(n + 1), 1.0), rcond=None)[0]
    return float(often @ tokens / (often @ seconds))


@pytest.mark.parametrize(
    ("n", "p", "q"), [(1, 0.3, 0.4), (5, 0.001, 0.999), (16, 0.12, 0.4), (64, 0.04, 0.3)]
)
def test_every_threshold_has_the_throughput_of_a_slower_solution(
    n: int, p: float, q: float
) -> None:
    cost = costs_of(10)
    thresholds = range(1, n + 1, max(1, n // 8))
    got = [throughput(n, threshold, p, q, cost) for threshold in thresholds]
    want = [by_least_squares(n, threshold, p, q, cost) for threshold in thresholds]
    assert got == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("seed", range(12, 24))
def test_the_best_threshold_is_never_below_another(seed: int) -> None:
    """Eager is the threshold 1."""
    n, p, q, cost = random_parameters(seed)
    best = throughput(n, best_threshold(n, p, q, cost), p, q, cost)
    others = [throughput(n, b, p, q, cost) for b in range(1, n + 1)]
    assert best >= max(others) * (1 - 1e-12), (best, others)


@pytest.mark.parametrize("threshold", [1, 3, 4])
def test_a_simulation_gives_the_predicted_throughput(threshold: int) -> None:
    """60,000 steps: within 2 %, over five standard errors."""
    n, p, q, cost, random = 4, 0.2, 0.4, costs_of(5), np.random.default_rng(0)
    waiting, tokens, seconds = 0, 0.0, 0.0
    for coins in random.random((60_000, n)):
        if waiting >= threshold:
            seconds += cost(Side.LLM, waiting)
            tokens += waiting
            waiting -= int((coins[:waiting] < q).sum())
        else:
            writing = n - waiting
            seconds += cost(Side.SLM, writing)
            more = int((coins[:writing] < p).sum())
            tokens += writing - more
            waiting += more
    assert tokens / seconds == pytest.approx(throughput(n, threshold, p, q, cost), rel=0.02)


# -- learnt while running -------------------------------------------------------------------------


def test_costs_recover_a_line() -> None:
    random, costs = np.random.default_rng(0), ObservedCosts()
    for _ in range(100):
        for side, (base, per_row) in ((Side.SLM, (2.0, 0.1)), (Side.LLM, (9.0, 0.7))):
            rows = int(random.integers(1, 17))
            costs.observe(side, rows, base + per_row * rows)
    for rows in (1, 8, 16, 32):
        assert costs.seconds(Side.SLM, rows) == pytest.approx(2.0 + 0.1 * rows, rel=1e-6)
        assert costs.seconds(Side.LLM, rows) == pytest.approx(9.0 + 0.7 * rows, rel=1e-6)


def test_costs_recover_a_line_under_noise() -> None:
    """10 % noise, 200 steps in memory: within 5 %, about five standard errors."""
    random, costs = np.random.default_rng(1), ObservedCosts()
    for _ in range(2000):
        rows = int(random.integers(1, 17))
        costs.observe(Side.LLM, rows, (5 + 0.5 * rows) * random.normal(1, 0.1))
    for rows in (1, 8, 16):
        assert costs.seconds(Side.LLM, rows) == pytest.approx(5 + 0.5 * rows, rel=0.05)


def test_a_side_that_never_ran_costs_nothing_yet() -> None:
    costs = ObservedCosts()
    costs.observe(Side.SLM, 3, 0.5)
    assert costs.seconds(Side.LLM, 8) == 0.0
    assert costs.seconds(Side.SLM, 8) == pytest.approx(0.5)  # one point: no slope


def test_costs_follow_a_change() -> None:
    costs = ObservedCosts(memory=50)
    for _ in range(500):
        costs.observe(Side.LLM, 4, 1.0)
    for _ in range(500):
        costs.observe(Side.LLM, 4, 3.0)
    assert costs.seconds(Side.LLM, 4) == pytest.approx(3.0, rel=1e-3)


def test_more_rows_never_cost_less() -> None:
    """Whatever the noise says: a falling line would make the table wait for ever more rows."""
    costs = ObservedCosts()
    for rows, seconds in ((1, 9.0), (2, 8.0), (8, 1.0), (16, 0.5)) * 20:
        costs.observe(Side.LLM, rows, seconds)
    line = [costs.seconds(Side.LLM, n) for n in range(1, 33)]
    assert line == sorted(line) and line[0] > 0, line


def test_a_cost_is_never_zero_or_less() -> None:
    """Steep lines cross zero before one row."""
    costs = ObservedCosts()
    for rows, seconds in ((10, 0.1), (20, 10.0)) * 20:
        costs.observe(Side.SLM, rows, seconds)
    assert costs.seconds(Side.SLM, 1) > 0


@pytest.mark.parametrize(("rows", "p"), [(1, 0.05), (8, 0.3), (600, 0.5)])
def test_rates_converge(rows: int, p: float) -> None:
    """500 coins in memory: within five standard errors (odds 6e-7)."""
    random, rates = np.random.default_rng(2), ObservedRates()
    for _ in range(6000 // rows + 20):
        rates.observe(Side.SLM, rows, int(random.binomial(rows, p)))
    error = (p * (1 - p) / 500) ** 0.5
    assert rates.probability(Side.SLM) == pytest.approx(p, abs=5 * error)


def test_rates_of_the_sides_are_apart_and_stay_inside() -> None:
    rates = ObservedRates()
    for _ in range(3000):
        rates.observe(Side.SLM, 8, 0)
        rates.observe(Side.LLM, 8, 8)
    assert rates.probability(Side.SLM) == 0.001
    assert rates.probability(Side.LLM) == 0.999


# -- known beforehand -----------------------------------------------------------------------------

PROFILE = LinearCosts((0.002, 0.02), (0.0001, 0.0005))


def test_a_profile_is_what_was_saved(tmp_path: Path) -> None:
    save_profile(tmp_path / "p.json", PROFILE)
    assert load_profile(tmp_path / "p.json") == PROFILE


def test_a_profile_counts_at_first_and_is_outweighed_by_what_is_seen() -> None:
    costs = ObservedCosts()
    costs.expect(PROFILE, 16)
    for side in Side:
        for rows in (1, 8, 16):
            assert costs.seconds(side, rows) == pytest.approx(PROFILE.seconds(side, rows), rel=1e-6)
    for _ in range(60):
        costs.observe(Side.LLM, 8, 0.1)
    assert costs.seconds(Side.LLM, 8) == pytest.approx(0.1, rel=0.25)
    for _ in range(1000):
        costs.observe(Side.LLM, 8, 0.1)
    assert costs.seconds(Side.LLM, 8) == pytest.approx(0.1, rel=0.01)


def test_with_a_profile_the_table_waits_from_the_first_request_on() -> None:
    rates, costs = ObservedRates(), ObservedCosts()
    learnt(rates, 0.10, 0.4)
    costs.expect(LinearCosts((1.0, 10.0), (0.01, 0.1)), 16)
    table = WaitingTable(costs, rates)
    assert [table.threshold(n) for n in (1, 4, 8, 16)] == [1, 3, 6, 12]


def changed(side: str, key: str, value: Any) -> str:
    sides = {"slm": {"base": 1.0, "per_row": 0.0}, "llm": {"base": 1.0, "per_row": 0.0}}
    sides[side][key] = value
    return json.dumps(sides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", r'has no "slm": {"base": seconds}'),
        ('{"slm": {"base": 1, "per_row": 0}}', r'has no "llm": {"base": seconds}'),
        ('{"slm": {"base": 1}, "llm": {"base": 1}}', r'has no "slm": {"per_row": seconds}'),
        (changed("llm", "base", 0), "llm.base is 0; it must be above 0"),
        (changed("slm", "per_row", -1), "slm.per_row is -1; it must be 0 or more"),
        (changed("slm", "base", "1"), "slm.base is '1'"),
        (changed("slm", "base", True), "slm.base is True"),
        (changed("slm", "base", float("nan")), "slm.base is nan"),
    ],
)
def test_a_bad_profile_is_refused_by_name(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(BadRequest, match=f"profile .*p.json.*{message}"):
        load_profile(tmp_path / "p.json")
    with pytest.raises(BadRequest, match="missing.json cannot be read: No such file"):
        load_profile(tmp_path / "missing.json")


# -- the table ------------------------------------------------------------------------------------


def learnt(rates: ObservedRates, p: float, q: float) -> None:
    for _ in range(50):
        rates.observe(Side.SLM, 1000, round(1000 * p))
        rates.observe(Side.LLM, 1000, round(1000 * q))


def test_the_table_is_eager_until_it_knows_what_the_llm_costs() -> None:
    table = WaitingTable(ObservedCosts(), ObservedRates())
    assert [table.threshold(n) for n in (1, 4, 16)] == [1, 1, 1]


def test_the_table_answers_with_the_best_threshold() -> None:
    rates = ObservedRates()
    learnt(rates, 0.10, 0.4)
    table = WaitingTable(LinearCosts((1.0, 10.0), (0.01, 0.1)), rates)
    assert [table.threshold(n) for n in (1, 4, 8, 16)] == [1, 3, 6, 12]


def test_the_table_is_solved_again_after_a_while() -> None:
    rates = ObservedRates()
    learnt(rates, 0.10, 0.4)
    table = WaitingTable(LinearCosts((1.0, 10.0), (0.01, 0.1)), rates, refresh=100)
    first = table.threshold(8)
    learnt(rates, 0.9, 0.9)
    later = [table.threshold(8) for _ in range(101)]
    want = best_threshold(8, 0.9, 0.9, table.costs.seconds)
    assert first == 6 != want
    assert later[0] == 6 and later[-1] == want, later


@pytest.mark.parametrize("p", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("q", [0.001, 0.5, 0.999])
def test_the_table_answers_within_range_at_the_extremes(p: float, q: float) -> None:
    cost = costs_of(10)
    for n in (2, 32):
        threshold = best_threshold(n, p, q, cost)
        figure = throughput(n, threshold, p, q, cost)
        assert 1 <= threshold <= n
        assert 0 < figure <= n / cost(Side.SLM, n) * (1 + 1e-6), (threshold, figure)


def test_the_line_of_what_was_observed_gives_the_same_seconds() -> None:
    observed, known = ObservedCosts(), LinearCosts((0.002, 0.010), (0.0001, 0.0005))
    observed.expect(known, 16)
    line = observed.line(16)
    for side in Side:
        for rows in (1, 4, 16, 40):
            assert line.seconds(side, rows) == pytest.approx(known.seconds(side, rows), rel=1e-6)
    flat = ObservedCosts()
    for side in Side:
        flat.observe(side, 1, 0.5)
    assert flat.line(16) == LinearCosts((0.5, 0.5), (0.0, 0.0))


def test_what_reading_costs_is_what_passes_take_beyond_a_step() -> None:
    """Before any is seen a token costs what a row does; without a step a pass tells nothing."""
    seen = ObservedCosts()
    seen.observe_reading(Side.LLM, 1, 33, 0.5)
    assert seen.reading(Side.LLM) == 0
    seen.expect(LinearCosts((0.001, 0.010), (0.0001, 0.0005)), 16)
    assert seen.reading(Side.LLM) == pytest.approx(0.0005)
    seen.observe_reading(Side.LLM, 1, 33, 0.0105 + 32 * 0.002)
    assert seen.reading(Side.LLM) == pytest.approx(0.002)
    seen.observe_reading(Side.LLM, 2, 34, 0.011 + 32 * 0.004)  # two rows, 32 tokens beside theirs
    assert 0.003 < seen.reading(Side.LLM) < 0.0031, "of as many tokens, the later pass a bit more"
    assert seen.reading(Side.SLM) == pytest.approx(0.0001)
    seen.observe_reading(Side.SLM, 1, 1000, 0.0)
    assert seen.reading(Side.SLM) == 0, "never below"
