"""The entropy that every gate compares, against figures worked out by hand and float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from torch import Tensor

from rstitch import sampling


def entropy_of(logits: list[float] | Tensor, vocab_size: int | None = None) -> float:
    row = torch.as_tensor(logits)[None]
    return float(sampling.entropy(sampling.log_probs(row, vocab_size or row.shape[1])))


def exact_entropy(logits: Tensor) -> Tensor:
    """In float64, by the formula: -sum p ln p / ln V."""
    logp = torch.log_softmax(logits.double(), dim=-1)
    return -(logp.exp() * logp).sum(-1) / math.log(logits.shape[-1])


@pytest.mark.parametrize("vocab_size", [2, 3, 97, 32_000, 151_936])
def test_a_uniform_row_has_entropy_1_and_never_more(vocab_size: int) -> None:
    value = entropy_of(torch.full((vocab_size,), 3.7))
    assert 1 - 1e-5 < value <= 1.0, value


@pytest.mark.parametrize("vocab_size", [2, 97, 32_000])
def test_a_one_hot_row_has_entropy_0(vocab_size: int) -> None:
    logits = torch.full((vocab_size,), -torch.inf)
    logits[1] = 5.0
    assert entropy_of(logits) == 0.0
    assert 0.0 <= entropy_of(logits.nan_to_num(neginf=-200.0)) < 1e-30


def test_a_fair_coin_among_16_tokens() -> None:
    """ln 2 nats of ln 16: a quarter. Impossible tokens bring no NaN."""
    value = entropy_of([2.0, 2.0] + [-math.inf] * 14)
    assert value == pytest.approx(math.log(2) / math.log(16), abs=1e-7) == 0.25


def test_nats_by_hand() -> None:
    """-(1/2 ln 1/2 + 1/4 ln 1/4 + 1/4 ln 1/4) = 1.5 ln 2, of ln 3."""
    value = entropy_of([math.log(0.5), math.log(0.25), math.log(0.25)])
    assert value == pytest.approx(1.5 * math.log(2) / math.log(3), abs=1e-6)


def test_one_possible_token_has_entropy_0() -> None:
    assert entropy_of([4.2]) == 0.0
    assert entropy_of([4.2, 9.0, 9.0], vocab_size=1) == 0.0


def test_padded_columns_do_not_count() -> None:
    """However large they are, and whatever number of them."""
    torch.manual_seed(0)
    real = torch.randn(5, 97) * 3
    padded = torch.cat([real, torch.full((5, 7), 50.0)], dim=1)
    for logits in (real, padded):
        logp = sampling.log_probs(logits, 97)
        assert logp.shape == (5, 97)
        assert logp.exp().sum(-1) == pytest.approx(1.0, abs=1e-5)
        assert torch.equal(sampling.entropy(logp), sampling.entropy(sampling.log_probs(real, 97)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0, 20.0])
def test_half_precision_logits_against_float64(dtype: torch.dtype, spread: float) -> None:
    """Of the same rounded logits: the arithmetic after them is float32."""
    torch.manual_seed(1)
    logits = (torch.randn(20, 5000) * spread).to(dtype)
    got = sampling.entropy(sampling.log_probs(logits, 5000))
    assert got.dtype == torch.float32
    worst = (got.double() - exact_entropy(logits)).abs().max()
    assert worst < 2e-6, f"off by {worst:.2e}"


@given(st.lists(st.floats(-1e4, 1e4, width=32) | st.just(-math.inf), min_size=1, max_size=40))
@example([0.0] * 7)
@example([-math.inf, 1e4])
def test_entropy_is_between_0_and_1_for_any_logits(logits: list[float]) -> None:
    assume(max(logits) > -math.inf)
    value = entropy_of(logits)
    assert 0.0 <= value <= 1.0, value


def test_a_rows_signals_do_not_depend_on_its_batch() -> None:
    torch.manual_seed(2)
    logits = torch.randn(9, 100) * 4
    together = sampling.log_probs(logits, 97)
    for i in range(9):
        alone = sampling.log_probs(logits[i : i + 1], 97)
        assert torch.equal(alone[0], together[i])
        assert torch.equal(sampling.entropy(alone)[0], sampling.entropy(together)[i])
