"""The built-in pair on vLLM against the same pair in this process, and what is left afterwards."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.evals.tasks.builtin import Test as Problems
from rstitch.explain import check
from rstitch.policy import make
from rstitch.stream import Answer
from rstitch.types import Finished, Sampling, Side, Token
from tests.same import assert_same

PROBLEMS = int(os.environ.get("RSTITCH_VLLM_PROBLEMS", "24"))
"""Of the 200 that the full comparison takes, which is minutes long."""
TAUS = (-1.0, 0.005, 0.02, 0.1, 1.0)
GREEDY = Sampling(seed=1)
Step = tuple[int, Side, bool, Side]


@lru_cache
def everything() -> list[str]:
    return [problem.text for problem in Problems().problems()]


def questions(count: int) -> list[str]:
    return everything()[:count]


def steps(answer: Answer) -> list[Step]:
    return [(p.token, p.side, p.keep, p.next_side) for p in answer.trace.proposals]


def nearness(answer: Answer, at: int, tau: float) -> float:
    """How near the reference was to another choice there, by what it recorded of it."""
    found = answer.trace.proposals[min(at, len(answer.trace.proposals) - 1)]
    first, second = (logprob for _, logprob in found.top_logprobs[:2])
    return min(first - second, abs(found.entropy - float(np.float32(tau))))


def assert_clean(stitch: Stitch) -> None:
    """Nothing is in flight, vLLM's front ends know no session, and all KV blocks are free."""
    engine: Any = stitch.engine
    assert engine.stats()["active"] == engine.stats()["queued"] == 0
    for side in engine.runners.values():
        until = time.monotonic() + 10
        assert not side.llm.output_processor.request_states
        while not on_loop(engine, side.llm.reset_prefix_cache()):  # false while a block is taken
            assert time.monotonic() < until, "KV blocks are taken, by nobody"


def on_loop(engine: Any, work: Any) -> Any:
    return asyncio.run_coroutine_threadsafe(work, engine._loop).result(30)


@pytest.mark.parametrize("tau", TAUS)
def test_same_tokens_as_in_process(pair: Stitch, reference: Stitch, tau: float) -> None:
    asked: dict[str, Any] = {"tau": tau, "sampling": GREEDY, "max_tokens": 400, "top_logprobs": 2}
    prompts = questions(PROBLEMS)
    got, want = (one.batch(prompts, **asked) for one in (pair, reference))
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: nearness(want[i], at, tau),
    )
    for mine, other in zip(got, want, strict=True):
        assert check(mine.trace) is None
        if steps(mine) == steps(other):
            assert (mine.text, mine.reason) == (other.text, other.reason)
            entropies = [[p.entropy for p in one.trace.proposals] for one in (mine, other)]
            assert np.abs(np.subtract(*entropies)).max() < 1e-4
    assert_clean(pair)


@pytest.mark.parametrize(("tau", "other"), [(1.0, Side.LLM), (-1.0, Side.SLM)])
def test_at_its_ends_the_rule_never_runs_the_other_side(
    pair: Stitch, tau: float, other: Side
) -> None:
    (answer,) = pair.batch(questions(1), tau=tau, max_tokens=40)
    assert other not in [forward.side for forward in answer.trace.forwards]
    assert other not in answer.trace.prompts


@pytest.mark.parametrize(
    "policy",
    [
        make("hysteresis", tau_out=0.05, tau_back=0.01, min_slm=2, min_llm=3),
        make("window", tau=0.02, window=4),
        make("margin", bound=0.5),
        make("confidence", threshold=0.7),
        make("random", p=0.3, q=0.4),
        make("llm"),
    ],
    ids=lambda policy: policy.name,
)
def test_other_rules_write_the_same(pair: Stitch, reference: Stitch, policy: Any) -> None:
    prompts = questions(6)
    got, want = (
        [steps(a) for a in one.batch(prompts, policy=policy, sampling=GREEDY, max_tokens=120)]
        for one in (pair, reference)
    )
    assert sum(a != b for a, b in zip(got, want, strict=True)) <= 1  # one may be a near tie


def test_an_answer_within_an_llm_share(pair: Stitch) -> None:
    """The rule counts tokens in its memory, which passes between the workers."""
    answers = pair.batch(questions(4), tau=0.005, max_llm_share=0.1, max_tokens=100)
    for answer in answers:
        usage = answer.usage
        assert usage.llm_tokens <= 0.1 * usage.tokens + 0.5  # to the nearest whole token
        assert check(answer.trace) is None
    assert any(answer.usage.llm_tokens for answer in answers)


def test_one_seed_draws_the_same_tokens(pair: Stitch, reference: Stitch) -> None:
    """The noise is the same on both, so only a near tie of perturbed scores could part them."""
    drawn = Sampling(temperature=1.5, top_k=200, top_p=0.99, min_p=0.001, seed=3)
    asked: dict[str, Any] = {"tau": 0.02, "sampling": drawn, "max_tokens": 120, "n": 3}
    found, wanted = (one.batch(questions(6), **asked) for one in (pair, reference))
    got, want = ([answer for n in one for answer in n] for one in (found, wanted))
    assert len({answer.text for answer in got}) > len(found)  # samples differ
    assert sum(steps(a) != steps(b) for a, b in zip(got, want, strict=True)) <= 1
    assert all(check(answer.trace) is None for answer in got)


def test_a_stop_string_ends_the_answer_before_it(pair: Stitch, reference: Stitch) -> None:
    (whole,) = reference.batch(questions(1), sampling=GREEDY)
    word = whole.text.split()[6]
    got, want = (
        one.generate(questions(1)[0], sampling=GREEDY, stop=word) for one in (pair, reference)
    )
    assert got.reason == want.reason == "stop"
    assert got.text == want.text
    assert word not in got.text
    assert_clean(pair)


def test_tokens_and_lengths_end_it_too(pair: Stitch, reference: Stitch) -> None:
    prompt = questions(1)[0]
    (whole,) = reference.batch([prompt], sampling=GREEDY)
    kept = [p.token for p in whole.trace.proposals if p.keep]
    for asked in ({"max_tokens": 7}, {"stop_token_ids": [kept[9]]}, {"max_tokens": 1}):
        got, want = (one.generate(prompt, sampling=GREEDY, **asked) for one in (pair, reference))
        assert (steps(got), got.reason) == (steps(want), want.reason), asked


def test_prompts_may_differ_per_side(pair: Stitch, reference: Stitch) -> None:
    prompts = {Side.SLM: (12, 13, 14), Side.LLM: (20, 21, 22, 23, 24, 25)}
    request = Request(prompts, make("random", p=0.5, q=0.5), GREEDY, max_tokens=40)
    found = []
    for stitch in (pair, reference):
        name, tokens = stitch.engine.submit(request), []
        while not stitch.engine.idle:
            for event in stitch.engine.step():
                assert event.request == name
                tokens += [event.proposal.token] if isinstance(event, Token) else []
        found.append(tokens)
    assert found[0] == found[1]


def test_streams_that_are_closed_leave_nothing(pair: Stitch) -> None:
    streams = [pair.stream(q, tau=0.02, max_tokens=300, ignore_eos=True) for q in questions(8)]
    for count, stream in enumerate(streams):
        for _ in range(2 * count):  # from none on: in the queue, in the prefill, while writing
            next(stream)
        stream.close()
        assert stream.trace.end["reason"] == "cancelled"
        assert check(stream.trace) is None
    assert_clean(pair)


def test_more_answers_than_rows_wait_and_all_end(pair: Stitch) -> None:
    answers = pair.batch(questions(40), max_tokens=12)
    assert [answer.usage.tokens for answer in answers] == [12] * 40
    assert_clean(pair)


def test_threads_share_the_engine(pair: Stitch) -> None:
    found: dict[int, str] = {}

    def write(i: int) -> None:
        found[i] = pair.generate(questions(4)[i], sampling=GREEDY, max_tokens=30).text

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(4)] == [
        answer.text for answer in pair.batch(questions(4), sampling=GREEDY, max_tokens=30)
    ]


def test_events_on_a_loop_of_the_callers_own(pair: Stitch) -> None:
    """As the server reads them."""
    request = Request(dict.fromkeys(Side, (12, 13, 14)), make("entropy", tau=0.02))

    async def read() -> list[Any]:
        pair.engine.submit(request)
        found = []
        async for event in pair.engine.events():
            found.append(event)
            if isinstance(event, Finished):
                break
        return found

    events = asyncio.run(read())
    assert all(isinstance(event, Token) for event in events[:-1])
    assert pair.engine.idle


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"policy": make("phase", tau_think=0.1, tau_answer=0.0)}, "reads 'phase'"),
        ({"policy": make("rewind", tau=0.1, epsilon=0.01)}, "reads 'span'"),
        ({"sampling": Sampling(presence_penalty=1.0)}, "presence_penalty is 1.0"),
        ({"sampling": Sampling(logit_bias=((3, 1.0),))}, "logit_bias"),
        ({"top_logprobs": 21}, "top_logprobs is 21"),
    ],
)
def test_what_vllm_cannot_is_refused_by_name(
    pair: Stitch, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadRequest, match=told):
        pair.generate("x", **asked)


def test_what_needs_the_models_here_is_refused(pair: Stitch) -> None:
    with pytest.raises(BadRequest, match="use 'torch'"):
        pair.in_process  # noqa: B018
    with pytest.raises(BadRequest, match="steps cannot be measured on vLLM"):
        pair.measure()
