"""Acceptance by hand."""

from __future__ import annotations

import pytest
import torch

from rstitch.baselines import accept
from rstitch.baselines.early_exit import bound
from rstitch.baselines.speculative import gain


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_accepted_with_probability_p_over_q() -> None:
    """q = .8 where p = .4: ratio .5, so accepted below a coin of .5 and not from there on."""
    p, q = double(0.4, 0.6).repeat(4, 1), double(0.8, 0.2).repeat(4, 1)
    coins = torch.tensor([0.0, 0.4999, 0.5, 0.9])
    assert accept.by_chance(p, q, [0, 0, 0, 0], coins) == [True, True, False, False]
    assert accept.by_chance(p, q, [1, 1, 1, 1], coins) == [True] * 4, "p > q is always accepted"


def test_what_the_llm_never_draws_is_never_accepted() -> None:
    p, q = double(0.0, 1.0)[None], double(0.5, 0.5)[None]
    assert accept.by_chance(p, q, [0], torch.tensor([0.0])) == [False]


def test_the_replacement_is_the_excess_of_p_over_q() -> None:
    """p - q = (-.4, .1, .3): the second and third token, 1 to 3."""
    found = accept.replacement(double(0.4, 0.2, 0.4), double(0.8, 0.1, 0.1)).exp()
    assert torch.allclose(found / found.sum(), double(0, 0.25, 0.75))


def test_where_p_is_q_the_replacement_is_p() -> None:
    """A rejection that rounding alone has caused; no NaN."""
    p = double(0.4, 0.6)
    assert torch.equal(accept.replacement(p, p).exp(), p)


@pytest.mark.parametrize(
    ("fine", "count"), [([], 0), ([True], 1), ([False, True], 0), ([True, True, False, True], 2)]
)
def test_accepted_up_to_the_first_rejection(fine: list[bool], count: int) -> None:
    assert accept.leading(fine) == count


T, F = True, False


@pytest.mark.parametrize(
    ("fine", "may", "window", "want"),
    [
        ([F, T, T], [T, F, F], 2, [T, T, T]),
        ([F, T, T], [F, T, T], 2, [F, T, T]),  # the LLM is sure there
        ([F, T, F], [T, T, F], 2, [F, T, F]),  # not both that follow are fine
        ([F, T, F], [T, T, F], 1, [T, T, F]),
        ([T, F, T], [T, T, T], 2, [T, F, T]),  # only one follows in the draft
        ([F, T, F, T], [T, T, T, T], 1, [T, T, T, T]),  # each by itself
        ([F, F, T], [T, T, T], 1, [F, T, T]),  # the next would not be accepted by itself
        ([T, F], [T, T], 0, [T, T]),
    ],
)
def test_rejections_are_lifted(
    fine: list[bool], may: list[bool], window: int, want: list[bool]
) -> None:
    assert accept.loosened(fine, may, window) == want


def test_gain_and_bound() -> None:
    """Two drafts of acceptance 1/2: 1.75 tokens a round. All accepted: k + 1 of them."""
    assert gain(0.5, 2, 0.0) == 1.75
    assert gain(0.5, 2, 0.25) == pytest.approx(1.75 / 1.5)
    assert gain(1.0, 4, 0.0) == 5
    assert gain(0.0, 4, 0.25) == 0.5
    assert bound(0.0) == 1
    assert bound(0.2) == pytest.approx(1.25)
