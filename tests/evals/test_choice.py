"""Which tau of a curve is chosen, and the order in which taus are tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.evals import statistics as st
from rstitch.evals.calibration.choice import Wanted, pick
from rstitch.evals.calibration.curve import Curve, Point
from rstitch.evals.calibration.plan import Bound, spread_order


def point(tau: float, agreed: int, seconds: float | None, share: float, **more: Any) -> Point:
    speed = None if seconds is None else 10 / seconds
    fast = None if speed is None else (speed, speed)
    agreement = st.wilson(agreed, 20)
    return Point(tau, 20, share, 40.0, agreed, agreement, seconds, 20, speed, fast, **more)


POINTS = (
    point(0.01, 20, 5.0, 0.4),
    point(0.03, 20, 4.0, 0.2),
    point(0.1, 19, 2.5, 0.1),
    point(0.2, 12, 2.0, 0.0),
)
CURVE = Curve(point(-1, 20, 10.0, 1.0), POINTS, None, 0, 0, None)


@pytest.mark.parametrize(
    ("wanted", "tau", "words"),
    [
        (Wanted(), 0.03, "20 of 20 answers agree (95 %: 84 to 100 %)"),
        (Wanted(share=0.25), 0.03, "LLM share of 20.0%, the nearest to 25.0%"),
        (Wanted(share=0.35), 0.01, "40.0%"),
        (Wanted(speedup=3), 0.1, "4.00x"),
        (Wanted(agreement=0.95), 0.1, "agree on at least 95%"),
        (Wanted(agreement=0.6), 0.2, "5.00x"),
    ],
)
def test_what_is_wanted(wanted: Wanted, tau: float, words: str) -> None:
    choice = pick(CURVE, wanted)
    assert choice.tau == tau and words in choice.why and "\n" not in choice.why


def test_without_time_for_latencies_the_llms_share_stands_for_speed() -> None:
    slow = [replace(one, seconds=None, speed_up=None) for one in POINTS[:2]]
    assert pick(replace(CURVE, points=tuple(reversed(slow)))).tau == 0.03


def test_sampled_answers_are_held_to_what_the_llm_does_itself() -> None:
    assert pick(replace(CURVE, again=19)).tau == 0.1
    assert pick(replace(CURVE, again=20)).tau == 0.03


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(), "no tau agrees with the LLM on 20 of 20 prompts; most is 19 at tau 0.1"),
        (Wanted(speedup=9), "no tau is 9 times as fast as the LLM alone; most is 5.00x at tau 0.2"),
        (Wanted(agreement=1.0), "no tau agrees with the LLM on 100% of 20 prompts; most is 19"),
    ],
)
def test_what_no_tau_does(wanted: Wanted, message: str) -> None:
    few = replace(CURVE, points=POINTS[2:])
    with pytest.raises(BadRequest) as error:
        pick(few, wanted)
    assert message in str(error.value)
    assert pick(few, wanted, fallback=True).tau == -1


def test_one_wish_at_a_time() -> None:
    with pytest.raises(BadRequest, match="give --share or --agreement, not both"):
        Wanted(share=0.2, agreement=0.9)
    with pytest.raises(BadRequest, match="--speedup is -1; it must be above 0"):
        Wanted(speedup=-1)


def bounded(*shown: bool, won: int = 0, lost: int = 0) -> Curve:
    points = [
        replace(one, shown=s, won=won, lost=lost) for one, s in zip(POINTS, shown, strict=True)
    ]
    return replace(CURVE, points=tuple(points), bound=Bound(0.05, 0.95))


def test_a_bound_is_a_fixed_sequence() -> None:
    """What comes after the first that is not shown counts for nothing, though it be shown."""
    choice = pick(bounded(True, True, False, True))
    assert choice.tau == 0.03 and "within 0.05 of the LLM's accuracy" in choice.why
    with pytest.raises(BadRequest, match="about 59 new prompts could show it, .*new ones alone"):
        pick(bounded(False, True, True, True))
    with pytest.raises(BadRequest, match="a loss that more prompts would confirm"):
        pick(bounded(False, True, True, True, lost=5))


def test_taus_are_tried_so_that_any_stop_leaves_a_curve() -> None:
    grid = [float(i) for i in range(9)]
    order = spread_order(grid)
    assert order[:5] == [4.0, 0.0, 8.0, 2.0, 6.0] and sorted(order) == grid
    assert spread_order([0.1]) == [0.1] and spread_order([0.2, 0.1]) == [0.2, 0.1]
