"""What an engine refuses, and what fails: a pass, a policy, a text. The rest goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.base import Decision, Signals
from rstitch.types import Failed, Finished
from tests.engine.asking import LLM, SLM, STITCH, Letters, ask, one
from tests.fakes import EOS, says, scripted, sure, unsure
from tests.models import (
    assert_clean,
    collect,
    drain,
    engine,
    plain_log_probs,
    prompt,
    run,
)

# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ({"max_tokens": -3}, "max_tokens is -3"),
        ({"prompts": {SLM: (), LLM: (5,)}}, "the SLM's prompt is empty"),
        ({"prompts": {SLM: (5,), LLM: ()}}, "the LLM's prompt is empty"),
        ({"prompts": {SLM: (5,)}}, "the LLM's prompt is empty"),
        ({"prompts": {}}, "the SLM's prompt is empty"),
        ({"prompts": {SLM: (5,) * 64, LLM: (5,)}}, "has 64 tokens for the SLM.* 64.* at most 63"),
        ({"prompts": {SLM: (5,), LLM: (5,) * 80}}, "has 80 tokens for the LLM.* 64.* at most 63"),
        ({"prompts": {SLM: (5, 16), LLM: (5,)}}, "token id 16 is outside the SLM's .* of 16"),
        ({"prompts": {SLM: (5,), LLM: (5, -1, 3)}}, "token id -1 is outside the LLM's .* of 16"),
        ({"stop": ("x",)}, "stop strings need an engine with a tokenizer"),
        ({"top_logprobs": -1}, "top_logprobs is -1"),
    ],
)
def test_a_bad_request_is_refused_with_its_numbers(change: dict[str, Any], message: str) -> None:
    two = scripted(says(), says())
    with pytest.raises(BadRequest, match=message):
        two.submit(ask(**change))
    assert two.idle
    assert_clean(two)


def test_an_empty_stop_string_is_refused() -> None:
    two = scripted(says(), says(), tokenizer=Letters())
    with pytest.raises(BadRequest, match="stop"):
        two.submit(ask(stop=("a", "")))
    assert two.idle


def test_a_side_that_is_not_loaded_is_refused() -> None:
    both = scripted(says(), says())
    alone = InProcessEngine({SLM: both.runners[SLM]}, frozenset({EOS}))
    for policy in (STITCH, make("llm"), make("entropy", tau=-1)):
        with pytest.raises(BadRequest, match=f"policy '{policy.name}' needs the LLM"):
            alone.submit(ask(policy))
    for policy in (make("slm"), make("entropy", tau=1)):
        (answer,) = run(alone, [ask(policy, prompts={SLM: (4, 5)}, max_tokens=2)])
        assert answer.tokens == [2, 2]


def test_a_prompt_of_a_side_that_is_never_used_need_not_fit() -> None:
    request = ask(make("slm"), prompts={SLM: (4, 5), LLM: (5,) * 1000}, max_tokens=1)
    assert one(says(sure(9)), says(), request).tokens == [9]


def test_a_closed_engine_refuses() -> None:
    two = scripted(says(), says())
    two.close()
    with pytest.raises(BadRequest, match="closed"):
        two.submit(ask())


# -- what fails -----------------------------------------------------------------------------------


def test_a_pass_that_fails_ends_its_rows_and_no_others() -> None:
    """The LLM breaks at its first pass: who waits for it fails, who is on the SLM goes on."""
    two = scripted(says(unsure(9), sure(9), sure(EOS)), says())
    two.runners[LLM].fail_on = lambda batch: True
    ids = [two.submit(r) for r in (ask(), ask(make("slm")), ask(), ask(make("llm")))]
    answers = collect(drain(two), ids)
    assert_clean(two)
    assert [type(a.end) for a in answers] == [Failed, Finished, Failed, Failed]
    assert answers[1].tokens == [9, 9, EOS]
    for answer in (answers[0], answers[2], answers[3]):
        assert isinstance(answer.end, Failed)
        assert "on fire" in str(answer.end.error)
        assert answer.tokens == []


def test_an_engine_works_on_after_a_failure() -> None:
    two = scripted(says(unsure(9), sure(EOS)), says(sure(8)))
    broken = iter([True, False, False, False])
    two.runners[SLM].fail_on = lambda batch: next(broken, False)
    first = two.submit(ask())
    (answer,) = collect(drain(two), [first])
    assert isinstance(answer.end, Failed)
    assert_clean(two)
    assert run(two, [ask()])[0].tokens == [8, EOS]


def test_a_failure_in_the_middle_keeps_what_was_written() -> None:
    two = scripted(says(sure(9), sure(8), sure(7)), says())
    two.runners[SLM].fail_on = lambda batch: batch[0].tokens[-1] == 8
    (answer,) = collect(drain_after_submit(two, ask()), ["r0"])
    assert answer.tokens == [9, 8]
    assert isinstance(answer.end, Failed)
    assert_clean(two)


def drain_after_submit(two: InProcessEngine, *requests: Request) -> list[Any]:
    for request in requests:
        two.submit(request)
    return drain(two)


def test_rows_that_a_failing_pass_did_not_feed_go_on() -> None:
    """Only one row fits the token budget; its pass fails. The others waited for their turn."""
    two = scripted(says(sure(9), sure(EOS)), says(), max_step_tokens=2)
    turn = iter([True])
    two.runners[SLM].fail_on = lambda batch: next(turn, False)
    answers = collect(drain_after_submit(two, *[ask(make("slm"))] * 3), ["r0", "r1", "r2"])
    assert_clean(two)
    assert [type(a.end) for a in answers] == [Failed, Finished, Finished]


@dataclass(frozen=True, slots=True)
class Broken(Policy):
    """Raises at every decision."""

    name: ClassVar[str] = "broken"

    @classmethod
    def decide(cls, signals: Signals, state: torch.Tensor) -> Decision:
        raise ZeroDivisionError("no decision")


def test_a_policy_that_raises_leaves_nothing_behind() -> None:
    two = scripted(says(sure(9), sure(EOS)), says())
    (answer,) = collect(drain_after_submit(two, ask(Broken())), ["r0"])
    assert isinstance(answer.end, Failed) and "no decision" in str(answer.end.error)
    assert_clean(two)
    assert run(two, [ask()])[0].tokens == [9, EOS]


class BrokenLetters(Letters):
    """Cannot decode token 13."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        if 13 in ids:
            raise UnicodeError("no such letter")
        return super().decode(ids, skip_special_tokens=skip_special_tokens)


def test_text_that_cannot_be_decoded_spares_rows_of_the_same_pass() -> None:
    """Three rows share each pass; the middle one alone has token 13 stop it."""
    two = scripted(says(sure(9), sure(13), sure(EOS)), says(), tokenizer=BrokenLetters())
    requests = [
        ask(make("slm"), max_tokens=1),
        ask(make("slm"), stop_token_ids=frozenset({13})),  # ends before it is decoded
        ask(make("slm")),
        ask(make("slm"), stop_token_ids=frozenset({13})),
    ]
    answers = collect(drain_after_submit(two, *requests), ["r0", "r1", "r2", "r3"])
    assert_clean(two)
    assert [type(a.end) for a in answers] == [Finished, Finished, Failed, Finished]
    assert [a.tokens for a in answers] == [[9], [9, 13], [9], [9, 13]]


@dataclass(frozen=True, slots=True)
class PingPong(Policy):
    """Two discards, then a kept token: a side is asked again without a new one."""

    name: ClassVar[str] = "ping-pong"

    def initial_state(self) -> tuple[float, ...]:
        return (0.0,)

    @classmethod
    def decide(cls, signals: Signals, state: torch.Tensor) -> Decision:
        keep = state[:, 0] % 3 == 2
        return Decision(torch.where(keep, signals.side, 1 - signals.side), keep, state + 1)


def test_a_side_may_be_asked_again_without_a_new_token() -> None:
    """The last token is fed anew, and the answer is that of a full forward all the same."""
    request = Request({SLM: prompt(6), LLM: prompt(9)}, PingPong(), max_tokens=12)
    (answer,) = run(engine(), [request])
    assert [p.keep for p in answer.proposals] == [False, False, True] * 12
    assert [f.new_tokens for f in answer.finished.forwards] == [6, 9] + [1] * 34
    kept: list[int] = []
    for p in answer.proposals:
        want = plain_log_probs(p.side, [*request.prompts[p.side], *kept])[-1]
        assert p.logprob == pytest.approx(float(want[p.token]), abs=1e-4)
        kept += [p.token] * p.keep
