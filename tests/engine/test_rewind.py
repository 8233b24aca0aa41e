"""Rewind by hand: which tokens go, what is fed again, and what a reader sees meanwhile."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rstitch.engine.request import Request
from rstitch.errors import BadPolicy
from rstitch.policy import make
from rstitch.policy.base import Decision, Policy, Signals
from rstitch.policy.rewind import Rewind
from rstitch.types import Failed, Sampling, Side
from tests.engine.asking import Letters
from tests.fakes import EOS, PROMPTS, VOCAB, says, scripted, sure, unsure
from tests.models import Answer, assert_clean, collect, drain, engine, prompt, run
from tests.same import assert_same_answers

SLM, LLM = Side.SLM, Side.LLM


def likes(*tokens: int) -> Tensor:
    """Each of these with the same probability, all others impossible; entropy of two: 0.25."""
    return torch.full((VOCAB,), -math.inf).index_fill(0, torch.tensor(tokens), 0.0)


def ask(tau: float = 0.5, epsilon: float = 0.1, **settings: Any) -> Request:
    policy = make("rewind", tau=tau, epsilon=epsilon)
    return Request(**{"prompts": PROMPTS, "policy": policy, "max_tokens": 20, **settings})


def one(slm: Any, llm: Any, request: Request | None = None, **settings: Any) -> Answer:
    (answer,) = run(scripted(slm, llm, **settings), [request or ask()])
    return answer


def told(answer: Answer) -> list[tuple[int, int, Side, bool]]:
    return [(p.position, p.token, p.side, p.keep) for p in answer.proposals]


# -- which token, and what is fed -----------------------------------------------------------------


def test_the_first_unlikely_token_and_all_after_it_go() -> None:
    """SLM: 9 10 11, unsure. The LLM would say 9, then 5 (never 10), then 11: 10 and 11 go, though
    11 would have been fine. It writes 5 and hands back; the SLM reads 5 and goes on."""
    slm = says(sure(9), sure(10), sure(11), unsure(3), then=sure(EOS))
    llm = says(sure(9), sure(5), sure(11), sure(12))
    two = scripted(slm, llm)
    (answer,) = run(two, [ask()])
    assert answer.tokens == [9, 5, 11, 12, EOS]
    assert told(answer)[:5] == [
        (0, 9, SLM, True),
        (1, 10, SLM, False),
        (2, 11, SLM, False),
        (3, 3, SLM, False),
        (1, 5, LLM, True),
    ]
    assert [p.taken_back for p in answer.proposals[:5]] == [False, True, True, False, False]
    assert answer.proposals[4].span == (0.0, -math.inf, 0.0) and answer.proposals[4].back == 2
    # The LLM's one pass yields its token too. Then the SLM, which had read 9, 10 and 11, reads 5.
    assert two.runners[LLM].calls[0] == [[6, 7, 8, 9, 10, 11]]
    assert two.runners[LLM].wanted[0] == [4]
    assert two.runners[SLM].calls[:6] == [[[4, 5]], [[9]], [[10]], [[11]], [[5]], [[11]]]
    usage = answer.finished.usage
    assert (usage.rewound_tokens, usage.slm_tokens, usage.llm_tokens) == (2, 3, 2)


def test_nothing_goes_where_the_llm_agrees() -> None:
    """At epsilon itself a token stays: 0.5 is not below 0.5."""
    slm = says(sure(9), sure(10), unsure(3), sure(EOS))
    answer = one(slm, says(likes(9, 4), likes(10, 4), sure(12)), ask(epsilon=0.5))
    assert answer.tokens == [9, 10, 12, EOS]
    assert [p.back for p in answer.proposals] == [0] * 5
    assert answer.proposals[3].span == pytest.approx((math.log(0.5),) * 2)


@pytest.mark.parametrize(
    ("epsilon", "tokens"),
    [
        (0.0, [9, 10, 12, EOS]),  # never, not even what is impossible
        (0.3, [9, 7, 12, EOS]),  # sometimes
        (1.0, [7, 7, 12, EOS]),  # always: at once, then from the LLM's own token on
    ],
)
def test_never_sometimes_always(epsilon: float, tokens: list[int]) -> None:
    slm = says(sure(9), sure(10), unsure(3), then=sure(EOS))
    llm = says(likes(7, 9), likes(7, 11, 12, 13), sure(12))
    answer = one(slm, llm, ask(tau=0.6, epsilon=epsilon, ignore_eos=True, max_tokens=3))
    assert answer.tokens == tokens[:3]


def test_a_position_that_the_llm_wrote_is_never_taken_back() -> None:
    """Epsilon 1 and an LLM that finds nothing certain: each of its passes leaves one token more."""
    llm = says(then=likes(7, 8, 9))
    answer = one(says(then=unsure(3)), llm, ask(tau=0.45, epsilon=1.0, max_tokens=12))
    assert answer.tokens == [7] * 12
    answer = one(
        says(sure(9), sure(9), unsure(3), sure(9), sure(9), unsure(3), then=sure(9)),
        llm,
        ask(tau=0.45, epsilon=1.0, max_tokens=12),
    )
    written = [p for p in answer.proposals if p.side is LLM]
    assert [p.position for p in written] == sorted({p.position for p in written})
    assert all(p.keep for p in written)


def test_a_span_is_judged_once_and_only_at_a_hand_off() -> None:
    """Two spans; the second is scored from its own first token on; the last is never asked for."""
    slm = says(sure(9), unsure(3), sure(10), sure(11), unsure(3), sure(13), sure(EOS))
    two = scripted(slm, says(sure(9), sure(8), sure(10), sure(11), sure(12), then=sure(4)))
    (answer,) = run(two, [ask()])
    assert answer.tokens == [9, 8, 10, 11, 12, 13, EOS]
    assert [len(p.span) for p in answer.proposals if p.side is LLM] == [1, 2]
    assert two.runners[LLM].calls == [[[6, 7, 8, 9]], [[8, 10, 11]]]
    assert two.runners[LLM].wanted == [[2], [3]]


def test_the_draw_at_the_position_is_the_llms_own() -> None:
    """Sampled: the token that replaces is what the LLM alone draws there from the same seed."""
    flat = torch.arange(VOCAB).float() / 4
    hot = Sampling(temperature=1.0, seed=3)
    slm = says(sure(4), sure(10), unsure(3), then=sure(EOS))
    answer = one(slm, says(then=flat), ask(epsilon=1.0, sampling=hot))
    alone = Request(prompts=PROMPTS, policy=make("llm"), sampling=hot, max_tokens=1)
    want = one(slm, says(then=flat), alone)
    replaced = next(p for p in answer.proposals if p.side is LLM)
    assert (replaced.position, replaced.back, replaced.token) == (0, 2, want.tokens[0])
    assert want.tokens[0] != 4, "choose another seed: the draw says nothing"


# -- ends and texts -------------------------------------------------------------------------------


def test_an_end_that_nobody_asked_the_llm_about_stays() -> None:
    """EOS, the token budget and a stop string, all written by the SLM inside an open span."""
    llm = says(then=sure(4))
    assert one(says(sure(9), sure(EOS)), llm).tokens == [9, EOS]
    answer = one(says(then=sure(9)), llm, ask(max_tokens=3))
    assert (answer.tokens, answer.finished.reason) == ([9, 9, 9], "length")
    answer = one(says(sure(8), sure(9), sure(10)), llm, ask(stop=("hi",)), tokenizer=Letters())
    assert (answer.text, answer.finished.reason) == ("g", "stop")


def test_text_is_shown_once_the_llm_has_confirmed_it() -> None:
    """Letters: 8 g, 9 h, 10 i, 12 k, 2 a. Nobody sees the h that the LLM takes back; the stop
    string "hk" that h had begun is forgotten with it."""
    slm = says(sure(8), sure(9), unsure(3), sure(10), sure(EOS))
    two = scripted(slm, says(sure(8), sure(12)), tokenizer=Letters())
    two.submit(ask(stop=("hk",)))
    steps = []
    while not two.idle:
        steps.append([event.text for event in two.step()])
    assert steps == [[], [], [], ["g", "", "", "k"], [], ["", "a"], [], ["i", "", ""]]


def test_a_cancelled_answer_keeps_what_was_held() -> None:
    two = scripted(says(then=sure(9)), says(), tokenizer=Letters())
    name = two.submit(ask())
    events = [event for _ in range(3) for event in two.step()]
    assert events == []
    two.cancel(name)
    (answer,) = collect(drain(two), [name])
    assert (answer.tokens, answer.text, answer.finished.reason) == ([9] * 3, "hhh", "cancelled")
    assert_clean(two)


def test_a_failed_answer_tells_what_was_held_before_it_failed() -> None:
    two = scripted(says(then=sure(9)), says())
    two.runners[SLM].fail_on = lambda batch: len(two.runners[SLM].calls) == 2
    (answer,) = run(two, [ask()])
    assert isinstance(answer.end, Failed) and answer.tokens == [9, 9]


# -- chunks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 2, 3, 5, 64])
def test_chunks_change_nothing(budget: int) -> None:
    """Spans longer than a step's tokens: scored in parts, judged whole, and where the distribution
    lies in an earlier part its token is fed anew."""
    slm = says(sure(9), sure(10), sure(11), sure(12), unsure(3), then=sure(EOS))
    llm = says(sure(9), sure(5), sure(11), sure(12), sure(13))
    answer = one(slm, llm, max_step_tokens=budget)
    assert answer.tokens == [9, 5, 11, 12, 13, EOS]
    assert answer.proposals[5].span == (0.0, -math.inf, 0.0, 0.0)
    assert answer.proposals[5].back == 3


def test_no_pass_holds_more_distributions_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of nine at three a pass; the prompt before it is not counted."""
    monkeypatch.setattr("rstitch.engine.decode_loop.SCORED", 3)
    two = scripted(says(*[sure(9)] * 9, unsure(3), then=sure(EOS)), says(then=sure(9)))
    (answer,) = run(two, [ask()])
    assert answer.tokens == [*[9] * 10, EOS]
    assert two.runners[LLM].wanted == [[3], [3], [3], [1]]
    assert [len(row) for (row,) in two.runners[LLM].calls] == [5, 3, 3, 1]
    assert next(p for p in answer.proposals if p.span).span == (0.0,) * 9


@pytest.mark.parametrize("budget", [1, 7])
def test_chunks_of_many_rows_change_nothing(budget: int) -> None:
    requests = [
        ask(0.7, 0.002, prompts={SLM: prompt(3 + 6 * n, n), LLM: prompt(40 - 6 * n, n)})
        for n in range(6)
    ]
    whole, chunked = run(engine(), requests), run(engine(max_step_tokens=budget), requests)
    assert_same_answers(chunked, whole, requests)
    assert sum(answer.finished.usage.rewound_tokens for answer in whole) > 10
    for a, b in zip(whole, chunked, strict=True):
        assert [p.back for p in a.proposals] == [p.back for p in b.proposals]


# -- policies that break their promise ------------------------------------------------------------


class Greedier(Rewind):
    name = "greedier"

    def confirm(self, scores: Any) -> int:
        return len(scores) + 1


class Stubborn(Policy):
    """Discards everything of both sides."""

    name = "stubborn"

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        none = torch.zeros_like(signals.side).bool()
        return Decision(1 - signals.side, none, state)


class Clinging(Stubborn):
    """Discards a token and asks the same side again."""

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        none = torch.zeros_like(signals.side).bool()
        return Decision(signals.side, none, state)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Greedier(0.5), "confirm.. says that 2 of 1 tokens stay"),
        (Stubborn(), "discarded what the SLM wrote at position 0, where it had to be kept"),
        (Clinging(), "discarded a token of the SLM and asks it again"),
    ],
)
def test_a_policy_that_would_never_end_fails_its_request(policy: Policy, message: str) -> None:
    two = scripted(says(sure(9), unsure(3), then=unsure(3)), says())
    request = Request(prompts=PROMPTS, policy=policy, max_tokens=20)
    (answer,) = run(two, [request])
    assert isinstance(answer.end, Failed) and isinstance(answer.end.error, BadPolicy)
    with pytest.raises(BadPolicy, match=message):
        raise answer.end.error
