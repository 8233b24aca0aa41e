"""Fits recover what made the seconds; a price is refused where nothing was measured."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rstitch.costs import LinearCosts
from rstitch.errors import BadRequest
from rstitch.latency import fit, grid
from rstitch.latency.costs import Host, PassCosts
from rstitch.latency.forms import TERMS, Limits, fitted, kind_of
from rstitch.latency.grid import Room
from rstitch.latency.price import price
from rstitch.latency.shape import Shape
from rstitch.types import Side
from tests.latency.worlds import TRUE, forwards, true_form, truth

SLM, LLM = Side.SLM, Side.LLM


def test_a_shape_by_hand() -> None:
    """Three rows: 1 after 10, 5 after 2, 2 after 0."""
    assert Shape.of([(1, 10), (5, 2), (2, 0)]) == Shape(3, 8, 12, 30, 20, 5, 11)
    assert Shape.of([(4, 7)] * 3) == Shape.even(3, 4, 7)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [([(1, 9)], "one"), ([(1, 9), (1, 0)], "decode"), ([(1, 9), (2, 0)], "catch-ups")]
    + [([(16, 0)], "catch-up"), ([(17, 0)], "prefill"), ([(1, 9), (17, 0)], "prefills")],
)
def test_kinds_of_passes(rows: list[tuple[int, int]], kind: str) -> None:
    assert kind_of(Shape.of(rows)) == kind


def shapes() -> list[Shape]:
    return [point.shape for point in grid.points(Room(1024, 16, 2048))]


def test_exact_seconds_give_the_true_coefficients() -> None:
    forms = fitted((shape, truth(SLM, shape)) for shape in shapes())
    assert set(forms) == set(TERMS)
    for kind, form in forms.items():
        assert form.coefficients == pytest.approx(TRUE[kind], rel=1e-6), kind
        assert form.error is not None and form.error.p95 < 1e-6


def test_noise_is_told_by_points_that_were_left_out_and_nothing_is_below_zero() -> None:
    """Uniform noise of 20 % is off by 10 % in the median; a fit to noise alone would say less."""
    draw = random.Random(1)
    many = [shape for shape in shapes() for _ in range(20)]
    forms = fitted((shape, truth(LLM, shape) * draw.uniform(0.8, 1.2)) for shape in many)
    for kind, form in forms.items():
        assert min(form.coefficients) >= 0
        assert form.error is not None and 0.07 < form.error.median < 0.13, (kind, form.error)


def test_a_falling_cost_is_left_out_and_small_passes_count_as_much_as_large_ones() -> None:
    x = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 4.0]])
    assert fit.solve(x, np.array([9.0, 8.0, 6.0]))[1] == 0.0
    noisy = np.array([1.0, 3.0] * 200)  # 2 in the mean; by shares of what was measured 1.2
    assert fit.unbiased(np.ones((400, 1)), noisy)[0] == pytest.approx(2.0)
    assert fit.solve(np.ones((400, 1)), noisy)[0] == pytest.approx(1.2)
    wide = np.array([[1.0], [1000.0]])  # 1 s and 1100 s: 5 % off at both, not 0 at the larger
    assert fit.solve(wide, np.array([1.0, 1100.0]))[0] == pytest.approx(1.05, abs=0.01)


def costs(limits: Limits) -> PassCosts:
    forms = {side: {kind: true_form(kind, side, limits) for kind in TERMS} for side in Side}
    return PassCosts(forms, Host(1e-4, 1e-5))


@pytest.mark.parametrize(
    ("shape", "named"),
    [(Shape.even(1, 1, 300), "context of 301"), (Shape.even(9, 1, 5), "9 rows")]
    + [(Shape.even(1, 65, 5), "65 tokens a row"), (Shape.even(8, 60, 5), "context 256")],
)
def test_a_price_outside_the_grid_is_refused_with_the_numbers(shape: Shape, named: str) -> None:
    found = costs(Limits(rows=8, tokens=400, widest=64, longest=256))
    assert not found.covers(LLM, shape)
    with pytest.raises(BadRequest, match=f"of the LLM .*{named}"):
        found.seconds(LLM, shape)
    assert found.seconds(LLM, shape, beyond=True) == pytest.approx(truth(LLM, shape))


def test_a_kind_that_was_not_measured_is_refused_or_the_nearest_stands_in() -> None:
    only = PassCosts({side: {"one": true_form("one", side)} for side in Side})
    shape = Shape.even(4, 1, 10)
    with pytest.raises(BadRequest, match="a decode pass of the SLM .* none of that kind"):
        only.seconds(SLM, shape)
    assert only.seconds(SLM, shape, beyond=True) > 0


def test_a_price_is_the_sum_of_its_passes() -> None:
    """By hand: an SLM prefill of 20, a step after 20, an LLM catch-up of 3 after 18."""
    limits = Limits(rows=8, tokens=400, widest=64, longest=256)
    passes = forwards(("slm", 20, 20), ("slm", 1, 21), ("llm", 3, 21))
    found = price(passes, costs(limits))
    want = (
        (2e-7 * 400 + 2e-5 * 20 + 4e-3)
        + (2e-6 * 20 + 1e-3)
        + 5 * (4e-8 * 54 + 1e-7 * 9 + 3e-5 * 3 + 1e-6 * 18 + 2e-3)
    )
    assert found.passes == pytest.approx(want) and found.outside == 0
    assert found.host == pytest.approx(3 * 1.1e-4)
    far = [*passes, *forwards(("llm", 1, 300))]
    with pytest.raises(BadRequest, match="context of 300"):
        price(far, costs(limits))
    assert price(far, costs(limits), beyond=True).outside == 1


def test_the_line_for_the_waiting_table_and_a_larger_llm() -> None:
    found = costs(Limits(8, 400, 64, 256))
    line = found.line(8)
    assert isinstance(line, LinearCosts)
    assert line.seconds(SLM, 1) == pytest.approx(2e-6 * 64 + 1e-3)
    assert line.seconds(SLM, 8) == pytest.approx(3e-6 * 512 + 2e-4 * 8 + 1.5e-3)
    dear = found.times(LLM, 10)
    for side, factor in ((SLM, 1), (LLM, 10)):
        shape = Shape.even(2, 3, 50)
        assert dear.seconds(side, shape) == pytest.approx(factor * found.seconds(side, shape))


def test_a_grid_stays_within_the_room_and_reaches_its_ends() -> None:
    for room in (Room(256, 6, 64), Room(1024, 32, 2048), Room(16, 1, 2048), Room(10, 8, 2048)):
        points = grid.points(room)
        assert len(set(points)) == len(points)
        for one in points:
            assert one.shape.longest <= room.context and one.shape.tokens <= room.tokens
            assert len(one.widths) == one.rows and max(one.widths) == one.new
        assert max(one.rows for one in points) == room.rows
        assert max(one.cached + one.new for one in points) == room.context
