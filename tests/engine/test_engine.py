"""The life of a request: how it begins and ends, what is reported. Mostly on written scripts."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from rstitch.engine.request import Request
from rstitch.policy import make
from rstitch.types import Sampling, Side, Token
from tests.engine.asking import BOTH, LLM, SLM, STITCH, Letters, ask, mixed, one
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
from tests.same import assert_same_answers

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


def test_stats_count_the_rows_that_wait_for_each_side() -> None:
    """One of two has been handed to the LLM, whose turn it is not yet."""
    two = scripted(says(unsure(9)), says(), max_rows=3, waiting="fixed:3", max_wait=1e9)
    two.submit(ask())
    two.submit(ask(make("slm")))
    assert two.stats()["waiting"] == {"slm": 0, "llm": 0}
    two.step()
    assert two.stats()["waiting"] == {"slm": 1, "llm": 1}
    drain(two)
    assert two.stats()["waiting"] == {"slm": 0, "llm": 0}


def test_stats_tell_pages_that_are_used_reserved_and_free() -> None:
    """The scripted model takes memory token by token; a page is one token."""
    two = scripted(says(), says(), max_rows=2)
    pages = two.stats()["kv"]["slm"]["pages"]
    assert pages == {"used": 0, "idle": 0, "reserved": 0, "free": 2 * 64}
    two.submit(ask())
    two.step()
    two.step()
    pages = two.stats()["kv"]["slm"]["pages"]
    assert pages == {"used": 3, "idle": 0, "reserved": 0, "free": 2 * 64 - 3}
    assert two.stats()["kv"]["llm"]["pages"]["used"] == 0
    drain(two)
    assert two.stats()["kv"]["slm"]["pages"]["used"] == 0


def test_pages_of_slabs_are_what_rows_hold_and_what_the_slabs_take() -> None:
    two = engine(max_rows=8)
    requests = mixed(3)
    for request in requests:
        two.submit(request)
    for _ in range(6):
        two.step()
    for side, runner in two.runners.items():
        pages, rows = two.stats()["kv"][side.label]["pages"], two.scheduler.active.values()
        held = sum(runner.cached(row.rows[side]) for row in rows if side in row.rows)
        assert pages["used"] == held
        assert pages["used"] + pages["reserved"] == runner.nbytes // runner.token_bytes
        assert sum(pages.values()) == 8 * 256
    drain(two)
    assert all(one["pages"]["used"] == 0 for one in two.stats()["kv"].values())


def test_stats_can_be_asked_in_the_middle_of_a_step() -> None:
    two, seen = scripted(says(), says()), list[dict[str, Any]]()

    def look(_: Any) -> bool:
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(two.stats).result(timeout=60))
        return False

    two.runners[SLM].fail_on = look
    two.submit(ask(max_tokens=2))
    drain(two)
    assert [one["waiting"]["slm"] for one in seen] == [1, 1]


# -- chunks and queues ----------------------------------------------------------------------------


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


def test_owners_change_the_order_of_steps_and_nobodys_tokens() -> None:
    requests = mixed(7)
    owned = [replace(one, owner=name) for one, name in zip(requests, "abbbbbc", strict=True)]
    two = engine()
    shared = run(two, owned)
    assert_clean(two)
    assert_same_answers(shared, run(engine(), requests), requests)


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
