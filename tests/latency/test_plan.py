"""Which rule is chosen, where stitching stops paying, and what many replicas do."""

from __future__ import annotations

import math

import pytest

from rstitch.errors import BadRequest
from rstitch.latency.costs import PassCosts
from rstitch.latency.forms import TERMS, Form, Limits
from rstitch.latency.pattern import alone, drawn
from rstitch.latency.plan import Level, Plan, Rule, choose, level
from rstitch.latency.replicas import fleet
from rstitch.types import Side

FAR = Limits(10**6, 10**6, 10**6, 10**6)


def rule(method: str, tau: float | None, right: float | None, seconds: float) -> Rule:
    return Rule(method, tau, 50, right, 100.0, 0.2, seconds, None, 0)


LLM = rule("llm", None, 0.90, 10.0)


@pytest.mark.parametrize(
    ("rights", "chosen", "said"),
    [
        ((0.90, 0.895, 0.70), "b", "right as often as the LLM"),
        ((0.80, 0.80, 0.70), "b", "none is right as often"),
        ((None, None, None), "c", "the pair's own tau"),
        ((0.95, None, 0.95), "c", "the pair's own tau"),
    ],
)
def test_the_fastest_that_is_right_as_often(
    rights: tuple[float | None, ...], chosen: str, said: str
) -> None:
    taus = zip("abc", (0.01, 0.03, 0.1), rights, (8.0, 4.0, 2.0), strict=True)
    found, why = choose([LLM, *(rule(*one) for one in taus)], tau=0.11)
    assert found.method == chosen and said in why


def test_nothing_stitched_is_refused() -> None:
    with pytest.raises(BadRequest, match="no answer is stitched"):
        choose([LLM, rule("slm", None, 0.5, 1.0)], tau=0.1)


def flat(slm: float, llm: float) -> PassCosts:
    """The same for every pass, however many rows."""
    forms = {
        side: {
            kind: Form(kind, (*(0.0,) * (len(terms) - 1), seconds), FAR, 9, None)
            for kind, terms in TERMS.items()
        }
        for side, seconds in ((Side.SLM, slm), (Side.LLM, llm))
    }
    return PassCosts(forms)


def test_a_level_by_hand() -> None:
    """One in flight; 20 SLM passes of 1 s or 20 LLM passes of 10 s: ten times, a hundred where the
    LLM is ten times as dear, and a second device has nothing to do."""
    found = level([alone(Side.SLM, 5, 20)], [alone(Side.LLM, 5, 20)], 1, flat(1.0, 10.0))
    assert found.gain == pytest.approx(10.0) and found.larger == pytest.approx(100.0)
    assert found.stitched == pytest.approx(1 / 20) and found.p95 == pytest.approx(20.0)
    assert found.two_devices == pytest.approx(found.stitched) and found.two_wait == 1
    assert found.two_llms == pytest.approx(found.llm) and found.outside == 0


def test_waiting_pays_and_a_second_device_more() -> None:
    """Eight in flight, share 22 %, an LLM ten times as dear: 2.2 over the LLM with the table, below
    one eager (facts of the waiting table's own chain: 2.20 and 0.71), within a tenth."""
    costs = flat(1.0, 10.0)
    stitched = [drawn(0.10, 0.4, 200, seed) for seed in range(30)]
    found = level(stitched, [alone(Side.LLM, 1, 200)], 8, costs)
    assert found.gain == pytest.approx(2.2, rel=0.1)
    assert found.eager / found.llm == pytest.approx(0.71, rel=0.15)
    assert found.two_devices > 1.2 * found.stitched


def at(n: int, gain: float) -> Level:
    return Level(n, 1.0 * n, gain * n, n, 1.0, 1.0, 1.0, 1.0, n, 1, 2.0 * n, 1.0, 0.0)


@pytest.mark.parametrize(
    ("gains", "stops"),
    [((2.0, 1.5, 1.1), None), ((2.0, 1.1, 0.9), 4), ((0.9, 1.1, 0.9), 4), ((0.9, 0.8, 0.7), 1)],
)
def test_where_stitching_stops_paying(gains: tuple[float, ...], stops: int | None) -> None:
    levels = tuple(at(n, gain) for n, gain in zip((1, 2, 4), gains, strict=True))
    assert Plan((), "x", "", levels, False).stops == stops


def test_replicas_add_up_and_dealing_at_random_costs_where_rates_saturate() -> None:
    """Rates 2 and 2 at 1 and 2 in flight: a replica works unless it has none, 1 - 1/e of them."""
    levels = [at(1, 2.0), Level(2, 2.0, 2.0, 2, 1, 1, 1, 1, 2, 1, 4.0, 1.0, 0.0)]
    one, two = fleet(levels, 1000)
    assert one.even == pytest.approx(2000) and one.llms == 2000
    assert one.at_random == pytest.approx(2000 * (1 - math.exp(-1)))
    assert two.at_random == pytest.approx(2000 * (1 - math.exp(-2))) and two.llms == 1000
