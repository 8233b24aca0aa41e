"""Bias and penalties: OpenAI's law by hand, over both sides, and nothing where nobody asks."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rstitch.engine import gate, plain
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.vocabulary import Translation
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.types import Sampling, Side
from tests.engine.asking import ask, one
from tests.fakes import PROMPTS, VOCAB, Scripted, says, scripted
from tests.models import collect, drain, engine, prompt, run

SLM, LLM = Side.SLM, Side.LLM


def scores(**at: float) -> Tensor:
    """Raw logits by token, t3=2.0; 0 for all others."""
    ids = torch.tensor([int(name[1:]) for name in at])
    return torch.zeros(VOCAB).index_copy(0, ids, torch.tensor([*at.values()]))


THREE = scores(t3=5.0, t4=4.5, t5=3.9)


def written(logits: Tensor, tokens: int, policy: Policy | None = None, **shifts: Any) -> list[int]:
    """Greedily, with the same distribution at every position of both sides."""
    request = ask(policy or make("slm"), max_tokens=tokens, sampling=Sampling(seed=1, **shifts))
    return one(says(then=logits), says(then=logits), request).tokens


# -- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shifts", "want"),
    [
        ({}, [3, 3, 3, 3, 3, 3]),
        # 5 4.5 3.9 | 4 4.5 3.9 | 4 3.5 3.9, and so on
        ({"presence_penalty": 1.0}, [3, 4, 3, 3, 3, 3]),
        # 5 4.5 3.9 | 4 4.5 | 4 3.5 3.9 -> 3 | 3 3.5 3.9 -> 5 | 3 3.5 2.9 -> 4 | 3 2.5 2.9 -> 3
        ({"frequency_penalty": 1.0}, [3, 4, 3, 5, 4, 3]),
        # both: once 1.5, twice 2, thrice 2.5 | 5 | 3.5 4.5 | 3.5 3 3.9 | 3.5 3 2.4 | 3 3 2.4
        ({"presence_penalty": 1.0, "frequency_penalty": 0.5}, [3, 4, 5, 3, 3, 4]),
        ({"presence_penalty": -2.0, "logit_bias": ((4, 0.6),)}, [4, 4, 4, 4, 4, 4]),
        ({"frequency_penalty": 2.0, "logit_bias": ((3, 10.0),)}, [3, 3, 3, 3, 3, 3]),
        ({"logit_bias": ((9, 100),)}, [9, 9, 9, 9, 9, 9]),
        ({"logit_bias": ((3, -100), (4, -100.0))}, [5, 5, 5, 5, 5, 5]),
    ],
)
def test_the_law_by_hand(shifts: dict[str, Any], want: list[int]) -> None:
    if "presence_penalty" in shifts and "frequency_penalty" in shifts:
        assert written(THREE, 5, **shifts) == want[:5]  # at the sixth, 3 and 4 are equal
    else:
        assert written(THREE, 6, **shifts) == want


@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_what_either_side_wrote_counts_and_prompts_and_discards_do_not(penalty: str) -> None:
    """They take turns (an SLM proposal is always discarded, the LLM's token always hands
    back), so each of the SLM's proposals is counted by nobody; token 6 is in the LLM's prompt."""
    logits = scores(t6=5.0, t3=4.0, t4=3.0)
    both = make("random", p=1, q=1)
    request = ask(both, max_tokens=3, sampling=Sampling(seed=1, **{penalty: 1.5}))
    answer = one(says(then=logits), says(then=logits), request)
    kept = [p for p in answer.proposals if p.keep]
    assert [p.side for p in kept] == [LLM] * 3
    # 5 4 3 | 3.5 4 3 | 3.5 2.5 3
    assert [p.token for p in kept] == [6, 3, 6]
    assert [p.token for p in answer.proposals if not p.keep] == [6, 3, 6]


def test_signals_and_probabilities_are_those_of_the_raw_distribution() -> None:
    (plainly, shifted) = (
        one(says(then=THREE), says(then=THREE), ask(make("confidence", threshold=0.1), **given))
        for given in (
            {"max_tokens": 1, "top_logprobs": 2},
            {
                "max_tokens": 1,
                "top_logprobs": 2,
                "sampling": Sampling(presence_penalty=2, logit_bias=((5, 50),)),
            },
        )
    )
    (mine,), (raw,) = shifted.proposals, plainly.proposals
    assert (mine.token, raw.token) == (5, 3)
    assert (mine.entropy, mine.signals, mine.top_logprobs) == (
        raw.entropy,
        raw.signals,
        raw.top_logprobs,
    )
    assert mine.logprob == float(torch.log_softmax(THREE, 0)[5])


def test_a_bias_comes_before_temperature_and_filters() -> None:
    """top_k 1 leaves the token that the bias has made the likeliest; at a temperature of 2 it needs
    no more of a bias for that."""
    for temperature in (0.5, 2.0):
        hot = Sampling(temperature, top_k=1, seed=3, logit_bias=((5, 1.2),))
        request = ask(make("slm"), max_tokens=2, sampling=hot)
        assert one(says(then=THREE), says(), request).tokens == [5, 5]


def test_what_is_forbidden_is_never_drawn_and_what_is_forced_always() -> None:
    flat = torch.zeros(VOCAB)
    hot = Sampling(1.0, seed=5, logit_bias=tuple((i, -100.0) for i in range(2, VOCAB, 2)))
    drawn = one(says(then=flat), says(), ask(make("slm"), max_tokens=40, sampling=hot)).tokens
    assert all(token % 2 or token == 0 for token in drawn) and len(set(drawn)) > 3
    sure_of = Sampling(1.0, seed=5, logit_bias=((7, 100),))
    forced = one(says(then=flat), says(), ask(make("slm"), max_tokens=9, sampling=sure_of))
    assert forced.tokens == [7] * 9


# -- each side in its own ids ---------------------------------------------------------------------


def translating(script: Any) -> InProcessEngine:
    """10 and 11 are the other way round; the SLM's 12 and the LLM's 13 have no partner."""
    two = scripted(script, script)
    table = Translation(
        moved=dict.fromkeys(Side, {10: 11, 11: 10}),
        lost={SLM: {12: "<a>"}, LLM: {13: "<b>"}},
        sources={SLM: "small", LLM: "large"},
    )
    return InProcessEngine(two.runners, frozenset({1}), two.config, translation=table)


def proposed(shifts: dict[str, Any], policy: Policy) -> list[tuple[int, Side]]:
    two = translating(says(then=scores(t10=3.0, t11=2.5)))
    request = ask(policy, max_tokens=3, sampling=Sampling(seed=1, **shifts))
    name = two.submit(request)
    (answer,) = collect(drain(two), [name])
    return [(p.token, p.side) for p in answer.proposals]


def test_a_token_counts_for_the_other_side_under_its_own_id() -> None:
    """All of the SLM's proposals are discarded, so the LLM's tokens alone count."""
    found = proposed({"frequency_penalty": 1.0}, make("random", p=1, q=1))
    # LLM: 10 3.0, 11 2.5 | 10 2.0, 11 2.5 | 10 2.0, 11 1.5
    assert [token for token, side in found if side is LLM] == [10, 11, 10]
    # SLM: 10 3.0, 11 2.5 | 10 3.0, 11 1.5 | 10 2.0, 11 1.5
    assert [token for token, side in found if side is SLM] == [10, 10, 10]


def test_a_bias_is_in_the_llms_ids() -> None:
    """Forbidding the LLM's 11 forbids the SLM's 10; an SLM that writes alone has its own."""
    shifts = {"logit_bias": ((11, -100.0), (13, 2.9))}
    assert proposed(shifts, make("entropy", tau=1.0)) == [(10, SLM)] * 3  # never the LLM's
    found = proposed(shifts, make("random", p=1, q=1))
    assert {token for token, side in found if side is SLM} == {11}
    assert {token for token, side in found if side is LLM} == {10}


# -- in company, and where nobody asks ------------------------------------------------------------


def test_a_row_without_shifts_is_read_as_if_alone() -> None:
    """Beside one that has them: the same proposal, to the last bit."""
    shifts = Sampling(presence_penalty=1, logit_bias=((3, -2.0),))
    two = scripted(says(then=THREE), says())
    rows = [two.sequence(ask(make("slm"), sampling=s), "r", 1) for s in (Sampling(), shifts)]
    logits = torch.stack([THREE, THREE])
    (mine, other) = gate.read(logits, rows, SLM, VOCAB)
    (alone,) = gate._read(logits[:1], rows[:1], SLM, VOCAB, None, None, time.perf_counter)
    assert mine == alone and other.token == 4


@pytest.mark.parametrize(
    "shifts",
    [{"presence_penalty": 0.1}, {"frequency_penalty": -0.1}, {"logit_bias": ((2, 0.5),)}],
    ids=str,
)
def test_the_quick_gate_serves_rows_without_shifts_alone(shifts: dict[str, Any]) -> None:
    two = scripted(says(), says())

    def row(sampling: Sampling) -> Any:
        return two.sequence(ask(sampling=sampling), "r", 1)

    logits = torch.zeros(1, VOCAB)
    assert plain.serves(logits, [row(Sampling(presence_penalty=0.0, logit_bias=()))], VOCAB)
    assert not plain.serves(logits, [row(Sampling(**shifts))], VOCAB)


def test_shifts_of_nothing_change_nothing() -> None:
    """A bias of 0 takes the thorough path and writes the same."""
    requests = [
        Request(
            prompts={SLM: prompt(9 + n, n), LLM: prompt(11, n)},
            policy=make("entropy", tau=0.65),
            sampling=Sampling(0.8 * n, seed=n),
            max_tokens=20,
        )
        for n in range(2)
    ]
    nothing = [
        replace(r, sampling=replace(r.sampling, logit_bias=((5, 0.0),), presence_penalty=0))
        for r in requests
    ]
    got, want = run(engine(), nothing), run(engine(), requests)
    assert [a.steps for a in got] == [a.steps for a in want]


def test_a_bias_for_a_token_that_does_not_exist_is_refused() -> None:
    two = scripted(says(), says())
    request = ask(sampling=Sampling(logit_bias=((VOCAB, 1.0),)))
    with pytest.raises(BadRequest, match=f"names token {VOCAB}; the LLM's vocabulary has {VOCAB}"):
        two.submit(request)
    assert isinstance(two.runners[SLM], Scripted) and two.runners[SLM].calls == []
    assert PROMPTS[SLM] == (4, 5)
