"""The life of a request: how it begins, ends, fails and is cancelled. Mostly on written scripts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.base import Decision, Signals
from rstitch.types import Failed, Finished, Sampling, Side, Token
from tests.fakes import EOS, PROMPTS, says, scripted, sure, unsure
from tests.models import (
    Answer,
    assert_clean,
    collect,
    drain,
    engine,
    plain_log_probs,
    prompt,
    run,
)
from tests.same import assert_same_answers

SLM, LLM = Side.SLM, Side.LLM
STITCH = make("entropy", tau=0.5)
BOTH = make("random", p=1, q=1)
"""Every SLM proposal is discarded, every LLM token hands back."""


def ask(policy: Policy = STITCH, **settings: Any) -> Request:
    return Request(**{"prompts": PROMPTS, "policy": policy, "max_tokens": 20, **settings})


def one(slm: Any, llm: Any, request: Request | None = None, **settings: Any) -> Answer:
    (answer,) = run(scripted(slm, llm, **settings), [request or ask()])
    return answer


# -- how an answer ends ---------------------------------------------------------------------------


def test_eos_of_the_slm_ends() -> None:
    answer = one(says(sure(9), sure(EOS)), says())
    assert (answer.tokens, answer.finished.reason) == ([9, EOS], "stop")


def test_eos_of_the_llm_ends() -> None:
    answer = one(says(sure(9), unsure(9)), says(sure(8), sure(EOS)))
    assert answer.steps == [
        (9, SLM, True, SLM),
        (9, SLM, False, LLM),
        (EOS, LLM, True, SLM),
    ]
    assert answer.finished.reason == "stop"


def test_a_discarded_eos_does_not_end() -> None:
    answer = one(says(unsure(EOS), sure(9), sure(EOS)), says(sure(8)))
    assert answer.steps[0] == (EOS, SLM, False, LLM)
    assert (answer.tokens, answer.finished.reason) == ([8, 9, EOS], "stop")


def test_eos_may_be_ignored() -> None:
    answer = one(says(sure(EOS), sure(9)), says(), ask(ignore_eos=True, max_tokens=3))
    assert (answer.tokens, answer.finished.reason) == ([EOS, 9, 2], "length")


def test_stop_token_ids_end() -> None:
    """By either side, kept only; of one request, not of its neighbour."""
    slm, llm = says(unsure(11), sure(9)), says(sure(10), sure(10))
    requests = [
        ask(stop_token_ids=frozenset({9, 12})),
        ask(stop_token_ids=frozenset({10})),
        ask(stop_token_ids=frozenset({11}), max_tokens=4),
    ]
    answers = run(scripted(slm, llm), requests)
    assert [a.tokens for a in answers] == [[10, 9], [10], [10, 9, 2, 2]]
    assert [a.finished.reason for a in answers] == ["stop", "stop", "length"]


def test_stop_token_ids_count_where_eos_is_ignored() -> None:
    request = ask(ignore_eos=True, stop_token_ids=frozenset({EOS}))
    assert one(says(sure(EOS)), says(), request).finished.reason == "stop"


@pytest.mark.parametrize("max_tokens", [1, 2, 7])
def test_max_tokens_bounds_kept_tokens_only(max_tokens: int) -> None:
    answer = one(says(), says(), ask(BOTH, max_tokens=max_tokens))
    assert len(answer.tokens) == max_tokens
    assert len(answer.proposals) == 2 * max_tokens
    assert answer.finished.reason == "length"


@pytest.mark.parametrize(("policy", "room"), [("slm", 62), ("llm", 61), ("random", 61)])
def test_the_context_bounds_an_answer(policy: str, room: int) -> None:
    """64 tokens less the prompt (2 on the SLM, 3 on the LLM); the shorter of the sides it uses."""
    chosen = BOTH if policy == "random" else make(policy)
    answer = one(says(), says(), ask(chosen, max_tokens=1000))
    assert (len(answer.tokens), answer.finished.reason) == (room, "length")


def test_a_prompt_that_fills_the_context_still_gets_one_token() -> None:
    request = ask(make("slm"), prompts={SLM: prompt(255)}, max_tokens=9)
    (answer,) = run(engine(), [request])
    assert (len(answer.tokens), answer.finished.reason) == (1, "length")


class Letters:
    """Token n is the n-th letter."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join("-.abcdefghijklmnop"[i] for i in ids if not (skip_special_tokens and i < 2))


def test_stop_strings_end_and_are_not_part_of_the_text() -> None:
    """Over tokens of both sides; letters 8 "g", 9 "h", 10 "i"."""
    slm, llm = says(sure(8), unsure(3), sure(10)), says(sure(3), sure(9))
    answer = one(slm, llm, ask(stop=("hi",)), tokenizer=Letters())
    assert (answer.text, answer.tokens) == ("g", [8, 9, 10])
    assert answer.finished.reason == "stop"


def test_text_held_back_for_a_stop_string_comes_at_the_end() -> None:
    answer = one(
        says(sure(8), sure(9)), says(), ask(stop=("hi",), max_tokens=2), tokenizer=Letters()
    )
    assert (answer.text, answer.finished.text) == ("gh", "h")


def test_eos_is_no_text() -> None:
    answer = one(says(sure(8), sure(EOS)), says(), tokenizer=Letters())
    assert answer.text == "g"


# -- what is reported -----------------------------------------------------------------------------


def test_usage_and_forwards_by_hand() -> None:
    """SLM: prompt, keeps 9; unsure at 1: the LLM reads its prompt and 9, writes 8 and stays,
    writes 7 and hands back; the SLM catches up over 8 and 7, ends."""
    slm = says(sure(9), unsure(3), sure(3), sure(EOS))
    llm = says(sure(3), unsure(8), sure(7))
    two = scripted(slm, llm)
    (answer,) = run(two, [ask()])
    assert answer.tokens == [9, 8, 7, EOS]
    assert [p.position for p in answer.proposals] == [0, 1, 1, 2, 3]
    assert two.runners[SLM].calls == [[[4, 5]], [[9]], [[8, 7]]]
    assert two.runners[LLM].calls == [[[6, 7, 8, 9]], [[8]]]
    usage = answer.finished.usage
    assert (usage.slm_tokens, usage.llm_tokens, usage.tokens) == (2, 2, 4)
    assert (usage.discards, usage.handoffs) == (1, 2)
    assert usage.catchup_tokens == 3  # the LLM read 9; the SLM read 8 and 7
    assert usage.prompt_tokens == 3
    assert usage.llm_share == 0.5
    assert [(f.side, f.rows, f.new_tokens, f.context) for f in answer.finished.forwards] == [
        (SLM, 1, 2, 2),
        (SLM, 1, 1, 3),
        (LLM, 1, 4, 4),
        (LLM, 1, 1, 5),
        (SLM, 1, 2, 5),
    ]
    assert all(f.seconds >= 0 and f.batch_tokens == f.new_tokens for f in answer.finished.forwards)


def test_signals_are_recorded_as_the_policy_reads_them() -> None:
    """Entropy always, in float32; the others where the policy declares them."""
    scripts = says(unsure(9)), says(sure(8))
    (proposal, *_) = one(*scripts).proposals
    p, rest = math.e**2 / (math.e**2 + 15), 1 / (math.e**2 + 15)
    nats = -p * math.log(p) - 15 * rest * math.log(rest)
    assert proposal.entropy == pytest.approx(nats / math.log(16), abs=1e-6)
    assert proposal.entropy == float(torch.tensor(proposal.entropy))
    assert proposal.logprob == pytest.approx(math.log(p), abs=1e-6)
    assert proposal.signals == {}
    (proposal, *_) = one(*scripts, ask(make("confidence", threshold=0.5))).proposals
    assert proposal.signals == {"max_prob": pytest.approx(p, abs=1e-6)}
    assert not proposal.keep
    (proposal, *_) = one(*scripts, ask(make("random", p=0.5, q=0.5))).proposals
    assert proposal.keep == (proposal.signals["coin"] >= 0.5)


def test_top_logprobs_are_the_likeliest_raw_ones() -> None:
    """As many as each request asks for, whatever its neighbours do; sampled or not."""
    requests = [
        Request({s: prompt(5 + n, n) for s in Side}, STITCH, sampling, 12, top_logprobs=n)
        for n, sampling in enumerate([Sampling(), Sampling(), Sampling(2.0, top_k=5, seed=1)])
    ]
    for request, answer in zip(requests, run(engine(), requests), strict=True):
        kept: list[int] = []
        for p in answer.proposals:
            want = plain_log_probs(p.side, [*request.prompts[p.side], *kept])[-1]
            values, ids = want.topk(request.top_logprobs)
            assert [token for token, _ in p.top_logprobs] == ids.tolist()
            assert [v for _, v in p.top_logprobs] == pytest.approx(values.tolist(), abs=1e-4)
            assert p.logprob == pytest.approx(float(want[p.token]), abs=1e-4)
            kept += [p.token] * p.keep


def test_top_logprobs_are_bounded_by_the_vocabulary() -> None:
    answer = one(says(unsure(9)), says(), ask(top_logprobs=99, max_tokens=1))
    assert len(answer.proposals[0].top_logprobs) == 16


def test_stats_count_what_is_in_flight_and_queued() -> None:
    two = scripted(says(), says(), max_rows=2)
    for _ in range(3):
        two.submit(ask())
    assert (two.stats()["active"], two.stats()["queued"]) == (0, 3)
    two.step()
    assert (two.stats()["active"], two.stats()["queued"]) == (2, 1)
    drain(two)
    assert (two.stats()["active"], two.stats()["queued"]) == (0, 0)


# -- chunks and queues ----------------------------------------------------------------------------


def mixed(count: int, **settings: Any) -> list[Request]:
    """Requests on the random pair with prompts of 3 to 45 tokens and taus from 0.4 to 0.8."""
    return [
        Request(
            prompts={SLM: prompt(3 + 6 * i, i), LLM: prompt(45 - 6 * i, 50 + i)},
            policy=make("entropy", tau=0.4 + 0.4 * i / count),
            **{"max_tokens": 25, **settings},
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("budget", [7, 1])
def test_chunked_prefill_gives_the_same_tokens(budget: int) -> None:
    requests = mixed(7)
    whole = run(engine(), requests)
    chunked = run(engine(max_step_tokens=budget), requests)
    assert_same_answers(chunked, whole, requests)
    for answer in chunked:
        assert max(f.batch_tokens for f in answer.finished.forwards) <= budget
        for side in Side:  # every token once; a discarded proposal is not fed
            fed = [f for f in answer.finished.forwards if f.side is side]
            assert sum(f.new_tokens for f in fed) == (fed[-1].context if fed else 0)


def test_a_chunk_of_a_prompt_brings_no_proposal() -> None:
    """What the model says in the middle of a prompt (15 here) is not read."""
    answer = one(says(sure(9), sure(EOS)), says(), max_step_tokens=1)
    assert answer.tokens == [9, EOS]
    assert [f.context for f in answer.finished.forwards] == [1, 2, 3]


def test_more_requests_than_rows_queue_and_all_end() -> None:
    requests = mixed(7)
    few, most = engine(max_rows=2), [0]
    ids = [few.submit(request) for request in requests]
    events = drain(few, lambda _: most.append(len(few.scheduler.active)))
    assert max(most) <= 2
    assert_clean(few)
    assert_same_answers(collect(events, ids), run(engine(), requests), requests)


def test_many_requests_end_on_one_row() -> None:
    answers = run(scripted(says(unsure(9), sure(EOS)), says(), max_rows=1), [ask()] * 20)
    assert [a.tokens for a in answers] == [[2, EOS]] * 20


@pytest.mark.parametrize("budget", [2, 3])
def test_no_row_starves_under_a_small_token_budget(budget: int) -> None:
    """Six rows decode with fewer tokens per step than rows: all of them advance, and the last has
    its fifth token before the first has its thirtieth."""
    two = scripted(says(), says(), max_step_tokens=budget)
    ids = [two.submit(ask(make("slm"), max_tokens=30)) for _ in range(6)]
    written, behind = dict.fromkeys(ids, 0), []

    def count(event: Any) -> None:
        written[event.request] += isinstance(event, Token)
        if max(written.values()) == 30 and not behind:
            behind.append(dict(written))

    drain(two, count)
    assert min(behind[0].values()) >= 5, f"when the first row was done: {behind[0]}"


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


# -- cancelling -----------------------------------------------------------------------------------


def test_a_queued_request_can_be_cancelled() -> None:
    two = scripted(says(), says(), max_rows=1)
    first, second, third = (two.submit(ask(max_tokens=3)) for _ in range(3))
    events = two.step()
    two.cancel(second)
    answers = collect(events + drain(two), [first, second, third])
    assert [a.finished.reason for a in answers] == ["length", "cancelled", "length"]
    assert [len(a.tokens) for a in answers] == [3, 0, 3]
    assert answers[1].finished.usage.tokens == 0
    assert_clean(two)


def test_a_request_can_be_cancelled_before_the_first_step() -> None:
    two = scripted(says(), says())
    request = two.submit(ask())
    two.cancel(request)
    (answer,) = collect(drain(two), [request])
    assert answer.finished.reason == "cancelled"
    assert two.runners[SLM].calls == []


def test_cancelling_unknown_or_finished_requests_does_nothing() -> None:
    two = scripted(says(sure(9), sure(EOS)), says())
    request = two.submit(ask())
    events = drain(two)
    for stranger in (request, request, "r99", ""):
        two.cancel(stranger)
    assert drain(two) == []
    (answer,) = collect(events, [request])
    assert answer.tokens == [9, EOS]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_cancelling_after_any_event_leaves_nothing_behind(victim: int) -> None:
    """After each event of a run of three requests on two rows, one of them is cancelled: the
    others' answers stay as they were."""
    requests = mixed(3, max_tokens=4)
    want = run(engine(max_rows=2), requests)
    total = sum(len(a.proposals) for a in want) + 3
    for after in range(total):
        two = engine(max_rows=2)
        ids = [two.submit(request) for request in requests]
        seen = []

        def stop(
            event: Any, two: Any = two, ids: Any = ids, seen: Any = seen, n: int = after
        ) -> None:
            seen.append(event)
            if len(seen) == n + 1:
                two.cancel(ids[victim])

        answers = collect(drain(two, stop), ids)
        assert_clean(two)
        for i, answer in enumerate(answers):
            complete = want[i].steps
            if i == victim and answer.finished.reason == "cancelled":
                assert answer.steps == complete[: len(answer.steps)]
            else:
                assert answer.steps == complete, f"cancelled {victim} after event {after}"


def test_close_cancels_everything() -> None:
    two = engine(max_rows=2)
    for request in mixed(5):
        two.submit(request)
    for _ in range(9):
        two.step()
    assert two.scheduler.active and two.scheduler.queue
    two.close()
    assert_clean(two)
    ends = two.step()
    assert (
        [e.reason for e in ends if isinstance(e, Finished)]
        == ["cancelled"] * 5
        == [getattr(e, "reason", None) for e in ends]
    )
    assert two.idle and two.step() == []
    two.close()


# -- events ---------------------------------------------------------------------------------------


def within(coroutine: Coroutine[Any, Any, Any], seconds: float = 20.0) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def test_events_are_those_of_the_steps() -> None:
    requests = mixed(4)
    want = run(engine(), requests)

    async def main() -> list[Answer]:
        two = engine()
        ids, events = [two.submit(request) for request in requests], []
        async with aclosing(two.events()) as stream:
            async for event in stream:
                events.append(event)
                if sum(isinstance(e, Finished) for e in events) == len(ids):
                    break
        assert_clean(two)
        return collect(events, ids)

    assert_same_answers(within(main()), want, requests)


def test_requests_may_be_submitted_and_cancelled_while_events_run() -> None:
    """r1 is submitted at the first token of r0, and r0 cancelled at the third of r1; when both are
    over and the engine idles, another task submits r2, and closes the engine at its end."""
    two = scripted(says(), says())

    async def late() -> None:
        while not (two.idle and "r1" in ended):
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        two.submit(ask(max_tokens=2))

    answers: dict[str, Answer] = {}
    ended: list[str] = []

    async def main() -> None:
        first = two.submit(ask(max_tokens=10_000))
        task = asyncio.create_task(late())
        async for event in two.events():
            answers.setdefault(event.request, Answer()).add(event)
            if isinstance(event, Token):
                if len(answers) == 1 and len(answers[first].tokens) == 1:
                    assert two.submit(ask(max_tokens=5)) == "r1"
                if event.request == "r1" and event.proposal.position == 2:
                    two.cancel(first)
            else:
                ended.append(event.request)
                if event.request == "r2":
                    two.close()
        await task

    within(main())
    assert ended == ["r0", "r1", "r2"]
    assert [answers[r].finished.reason for r in ended] == ["cancelled", "length", "length"]
    assert [len(answers[r].tokens) for r in ended[1:]] == [5, 2]
    assert_clean(two)


def test_close_ends_events_of_an_idle_engine() -> None:
    async def main() -> list[Any]:
        two = scripted(says(), says())
        task = asyncio.create_task(gather(two))
        await asyncio.sleep(0.02)
        two.close()
        return await task

    assert within(main()) == []


async def gather(two: InProcessEngine) -> list[Any]:
    return [event async for event in two.events()]


def test_close_ends_events_of_a_busy_engine() -> None:
    two = engine()

    async def main() -> None:
        for request in mixed(3, max_tokens=10_000):
            two.submit(replace(request, ignore_eos=True))
        count = 0
        async for _ in two.events():
            count += 1
            if count == 10:
                two.close()

    within(main())
    assert_clean(two)


def test_submit_from_another_thread_wakes_an_idle_engine() -> None:
    async def main() -> list[int]:
        two = scripted(says(sure(9), sure(EOS)), says())
        task = asyncio.create_task(gather(two))
        await asyncio.sleep(0.02)
        request = await asyncio.to_thread(two.submit, ask())
        while two.idle is False:
            await asyncio.sleep(0.002)
        two.close()
        (answer,) = collect(await task, [request])
        return answer.tokens

    assert within(main()) == [9, EOS]


def test_an_engine_outlives_the_event_loop_of_its_events() -> None:
    """`asyncio.run` twice, then plain calls: `submit`, `cancel` and `close` must not go on waking a
    loop that is closed."""
    two = scripted(says(sure(9), sure(EOS)), says())

    async def first_end() -> Any:
        two.submit(ask())
        async with aclosing(two.events()) as stream:
            async for event in stream:
                if isinstance(event, Finished):
                    return event.reason

    assert within(first_end()) == "stop"
    assert within(first_end()) == "stop"
    assert run(two, [ask()])[0].tokens == [9, EOS]
    two.cancel("r0")
    two.close()


def test_a_reader_cancelled_while_it_waits_loses_nothing() -> None:
    """As a server does with time-outs: the step goes on in its thread, and its events wait."""
    two = scripted(says(*[sure(9)] * 10, sure(EOS)), says())
    step = two._step

    def slow() -> None:
        time.sleep(0.01)
        step()

    two._step = slow  # type: ignore[method-assign]
    seen: list[Any] = []

    async def main() -> None:
        name, cancelled = two.submit(ask()), 0
        while not any(isinstance(event, Finished) for event in seen):
            async with aclosing(two.events()) as stream:
                try:
                    while True:
                        seen.append(await asyncio.wait_for(anext(stream), 0.004))
                except TimeoutError:
                    cancelled += 1
        assert cancelled > 5
        (answer,) = collect(seen, [name])
        assert answer.tokens == [9] * 10 + [EOS]

    within(main(), seconds=20)
    assert_clean(two)


def test_the_last_reader_hears_of_what_closing_ended() -> None:
    two = scripted(says(*[sure(9)] * 50), says())
    seen: list[Any] = []

    async def main() -> None:
        two.submit(ask())
        async for event in two.events():
            seen.append(event)
            if len(seen) == 3:
                two.close()

    within(main(), seconds=5)
    assert isinstance(seen[-1], Finished) and seen[-1].reason == "cancelled"


def test_abandoned_events_can_be_taken_up_again() -> None:
    """The stream of a reader who leaves in the middle of an answer: nothing is lost but what that
    reader was given, and the next reader gets the rest."""
    two = scripted(says(sure(9), sure(8), sure(7), sure(EOS)), says())
    seen: list[Any] = []

    async def read(count: int) -> None:
        async with aclosing(two.events()) as stream:
            async for event in stream:
                seen.append(event)
                count -= 1
                if not count:
                    return

    async def main() -> None:
        ids = [two.submit(ask()) for _ in range(2)]
        await read(3)  # of the second step's two events, one
        await read(7)
        answers = collect(seen, ids)
        assert [a.tokens for a in answers] == [[9, 8, 7, EOS]] * 2

    within(main(), seconds=5)
    assert_clean(two)
