"""Entropy-gated speculation by hand, and its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rstitch.baselines import make
from rstitch.errors import BadRequest
from rstitch.types import Sampling, Side
from tests.baselines.scripts import LLM, SLM, knowing, odds, write
from tests.fakes import EOS, VOCAB, says, scripted, sure, unsure
from tests.models import engine, prompt

TEN = [sure(2 + i) for i in range(10)]
LOOSE = {"k": 6, "window": 2, "theta": 0.5}


def drafting(*odd: int) -> Any:
    """2, 3, 4 .. with token 15 at these positions."""
    return says(*(sure(15) if i in odd else TEN[i] for i in range(10)), then=sure(EOS))


def doubting(*where: int) -> Any:
    """2, 3, 4 .., of which the LLM is unsure at these positions (entropy 0.9)."""
    return says(*(unsure(2 + i) if i in where else TEN[i] for i in range(10)), then=sure(EOS))


def test_a_rejection_where_the_llm_is_unsure_is_lifted() -> None:
    """The SLM's 15 stays at position 2, since 5 and 6 behind it are what the LLM would say."""
    written = write(scripted(drafting(2), doubting(2)), make("gated-speculative", **LOOSE))
    assert written.tokens == (2, 3, 15, *range(5, 12), EOS)
    assert written.sides[2] is SLM
    assert written.deferred == 1


@pytest.mark.parametrize(
    ("odd", "doubts"),
    [
        ((2,), ()),  # the LLM is sure
        ((2, 4), (2,)),  # it would not go along with the second token behind
        ((4,), (4,)),  # one token behind it in the draft of six, where two are asked for
    ],
)
def test_other_rejections_stand(odd: tuple[int, ...], doubts: tuple[int, ...]) -> None:
    pair = scripted(drafting(*odd), doubting(*doubts))
    written = write(pair, make("gated-speculative", **LOOSE))
    assert written.tokens == (*range(2, 12), EOS)
    assert written.deferred == 0


def test_drafting_stops_before_the_slm_is_unsure() -> None:
    """At position 2 its entropy is 0.9: two tokens are drafted, which cost it three passes."""
    pair = scripted(says(*TEN[:2], unsure(4), *TEN[3:], then=sure(EOS)), doubting())
    written = write(pair, make("gated-speculative", tau=0.5))
    assert written.tokens == (*range(2, 12), EOS)
    assert written.sides[:3] == (SLM, SLM, LLM)
    fed = [f.new_tokens for f in written.forwards if f.side is LLM]
    assert fed[0] == 3 + 2
    assert sum(f.side is SLM for f in written.forwards[:4]) == 3


def test_with_both_gates_open_it_is_speculative_decoding() -> None:
    """theta above 1 lifts nothing, tau 1 stops nowhere: the same passes, not only tokens."""
    pair, given = engine(), Sampling(temperature=0.9, seed=3)
    for i, sampling in enumerate((Sampling(), given)):
        prompts = dict.fromkeys(Side, prompt(9, i))
        plain = write(pair, make("speculative", k=5), prompts, sampling, max_tokens=30)
        gated = make("gated-speculative", k=5, window=2, theta=1.1)
        open_ = write(pair, gated, prompts, sampling, max_tokens=30)
        assert open_.tokens == plain.tokens
        passes = [[(f.side, f.new_tokens) for f in one.forwards] for one in (open_, plain)]
        assert passes[0] == passes[1]


def test_always_lifted_is_what_the_slm_writes() -> None:
    """theta 0 and no window: every draft is accepted, and only the last token is the LLM's."""
    pair, prompts = engine(), dict.fromkeys(Side, prompt(9))
    loose = make("gated-speculative", k=8, window=0, theta=0.0)
    written = write(pair, loose, prompts, max_tokens=9)
    assert written.sides == (SLM,) * 8 + (LLM,)
    assert written.accepted == written.drafted == 8


def test_sampled_a_token_that_the_llm_would_never_draw_is_rejected() -> None:
    """However unsure it is: 15 has the probability 0."""
    pair = knowing(lambda ids: sure(15), lambda ids: odds(t3=0.5, t4=0.5))
    loose = make("gated-speculative", k=4, window=0, theta=0.0)
    for seed in range(20):
        written = write(pair, loose, sampling=Sampling(temperature=1.0, seed=seed), max_tokens=6)
        assert 15 not in written.tokens


def test_the_entropy_is_compared_as_a_float32() -> None:
    """0.25 is the entropy of two equal tokens of 16; at tau 0.25 that is no reason to stop."""
    assert torch.log(torch.tensor(2.0)) / torch.log(torch.tensor(float(VOCAB))) == 0.25
    pair = knowing(lambda ids: odds(t3=0.5, t4=0.5), lambda ids: sure(3))
    assert write(pair, make("gated-speculative", tau=0.2500001), max_tokens=5).drafted > 0
    assert write(pair, make("gated-speculative", tau=0.2499), max_tokens=5).drafted == 0


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"tau": "high"}, "tau is 'high'"),
        ({"theta": None}, "theta is None"),
        ({"window": -1}, "window is -1"),
        ({"k": 3, "window": 3}, "window is 3; it must be below k"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        make("gated-speculative", **params)
