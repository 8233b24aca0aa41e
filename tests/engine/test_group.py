"""Samples of one prompt: each is the answer it would be alone, and the prompt is read once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rstitch.engine import kv as kv_module
from rstitch.engine.request import Request, sample_ids
from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.types import Sampling, Side, sample_seed
from tests.fakes import says, scripted, sure
from tests.hashed import hashed
from tests.models import assert_clean, collect, drain, engine, prompt, run
from tests.same import assert_same_answers


@pytest.fixture(autouse=True)
def _prompts_of_the_random_models_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their contexts hold 256 tokens, from which on prompts are shared."""
    monkeypatch.setattr(kv_module, "MIN_SHARED", 128)


SLM, LLM = Side.SLM, Side.LLM
PROMPTS = {SLM: tuple(range(2, 14)), LLM: tuple(range(3, 16))}


def ask(n: int, seed: int = 5, **options: Any) -> Request:
    given = {"prompts": PROMPTS, "policy": make("entropy", tau=0.5), "max_tokens": 20}
    return Request(**{**given, "sampling": Sampling(1.0, seed=seed), "n": n, **options})


def alone(request: Request, index: int) -> Request:
    seed = sample_seed(request.sampling.seed or 0, index)
    return replace(request, n=1, sampling=replace(request.sampling, seed=seed))


def samples(two: Any, request: Request) -> list[Any]:
    name = two.submit(request)
    answers = collect(drain(two), sample_ids(name, request.n))
    assert_clean(two)
    return answers


@pytest.mark.parametrize("rows", [1, 2, 6])
@pytest.mark.parametrize("budget", [4, 2048])
def test_a_sample_is_the_request_alone_with_its_seed(rows: int, budget: int) -> None:
    """Five samples, also where fewer rows than samples are in flight or prompts come in chunks."""
    request = ask(5)
    got = samples(hashed(max_rows=rows, max_step_tokens=budget), request)
    want = [run(hashed(), [alone(request, index)])[0] for index in range(5)]
    assert [a.steps for a in got] == [a.steps for a in want]
    assert len({tuple(a.tokens) for a in got}) == 5


@pytest.mark.parametrize("sampling", [Sampling(1.0, seed=9), Sampling(0.7, top_k=8, seed=3)])
def test_samples_of_a_random_pair(sampling: Sampling) -> None:
    prompts = {SLM: prompt(30, 1), LLM: prompt(41, 2)}
    request = ask(4, prompts=prompts, policy=make("entropy", tau=0.65), sampling=sampling)
    got = samples(engine(), request)
    wanted = [alone(request, index) for index in range(4)]
    assert_same_answers(got, run(engine(), wanted), wanted)


@pytest.mark.parametrize("sampling", [Sampling(1.0, seed=9), Sampling(0.0)])
@pytest.mark.parametrize("tau", [0.65, 0.3])
def test_samples_that_share_a_long_prompts_memory(sampling: Sampling, tau: float) -> None:
    """Both prompts are long enough to be held once; every answer is the one without sharing."""
    prompts = {SLM: prompt(150, 1), LLM: prompt(161, 2)}
    request = ask(5, prompts=prompts, policy=make("entropy", tau=tau), sampling=sampling)
    request = replace(request, max_tokens=40, ignore_eos=True)
    two = engine()
    name, events, held = two.submit(request), [], dict.fromkeys(Side, 0)
    while not two.idle:
        events += two.step()
        held = {side: max(held[side], two.runners[side].kv.prefixed) for side in Side}
    assert held == {SLM: 149, LLM: 160}
    assert_clean(two)
    wanted = [alone(request, index) for index in range(5)]
    assert_same_answers(collect(events, sample_ids(name, 5)), run(engine(), wanted), wanted)


@pytest.mark.parametrize(("rows", "n"), [(1, 4), (2, 6), (6, 6)])
@pytest.mark.parametrize("budget", [5, 2048])
def test_the_prompt_is_read_once_per_side(rows: int, n: int, budget: int) -> None:
    """Each feeds its own tokens, and where it has none yet the prompt's last one anew; no one
    the prompt, not even where each begins after the one before it has ended."""
    two = hashed(max_rows=rows, max_step_tokens=budget)
    answers = samples(two, ask(n, ignore_eos=True))
    for side, given in PROMPTS.items():
        fed = sum(f.new_tokens for a in answers for f in a.finished.forwards if f.side is side)
        users = sum(any(f.side is side for f in a.finished.forwards) for a in answers)
        own = sum(
            [f for f in a.finished.forwards if f.side is side][-1].context - len(given)
            for a in answers
            if any(f.side is side for f in a.finished.forwards)
        )
        least = own + len(given)
        assert least <= fed <= least + users - 1, f"{side.name}: {fed} tokens fed, not {least}"
        assert users > 1, "the test says nothing"


def test_the_others_wait_for_the_first_to_read_the_prompt() -> None:
    """By hand: two prompt tokens in two chunks, then the others feed the last one anew."""
    two = scripted(says(sure(9)), says(), max_step_tokens=1)
    slow = Request({SLM: (4, 5)}, make("slm"), max_tokens=1, n=3)
    answers = samples(two, slow)
    assert two.runners[SLM].calls == [[[4]], [[5]], [[5]], [[5]]]
    assert [a.tokens for a in answers] == [[9]] * 3


def test_a_prompt_is_kept_until_the_last_sample_has_come() -> None:
    two = hashed(max_rows=1)
    name = two.submit(ask(2, policy=make("slm"), max_tokens=2, ignore_eos=True))
    two.step()
    two.step()  # the first has ended, the second is not in yet
    (group,) = two.rows._groups
    assert group.rows.keys() == {SLM} and two.runners[SLM].ids[group.rows[SLM]] == [*PROMPTS[SLM]]
    two.cancel(f"{name}.1")
    two.step()
    assert_clean(two)
    assert two.rows._groups == []


@pytest.mark.parametrize("after", range(12))
def test_any_sample_may_be_cancelled_at_any_time(after: int) -> None:
    """The first, while it reads the prompt for all (chunks of four) or later; the rest go on."""
    request = ask(4)
    want = [run(hashed(), [alone(request, index)])[0].steps for index in range(4)]
    for victim in (0, 2):
        two = hashed(max_step_tokens=4, max_rows=3)
        name = two.submit(request)
        events = [event for _ in range(after) for event in two.step()]
        two.cancel(f"{name}.{victim}")
        answers = collect(events + drain(two), sample_ids(name, 4))
        assert_clean(two)
        for index, answer in enumerate(answers):
            steps = want[index][: len(answer.steps)] if index == victim else want[index]
            assert answer.steps == steps, f"sample {index} after {after} steps"


def test_cancelling_the_request_cancels_its_samples_and_no_others() -> None:
    two = hashed(max_rows=3)
    first, other = two.submit(ask(4, ignore_eos=True)), two.submit(ask(1, seed=8))
    events = [event for _ in range(5) for event in two.step()]
    two.cancel(first)
    answers = collect(events + drain(two), [*sample_ids(first, 4), other])
    assert [a.finished.reason for a in answers[:4]] == ["cancelled"] * 4
    assert answers[4].steps == run(hashed(), [ask(1, seed=8)])[0].steps
    assert_clean(two)


def test_a_pass_that_fails_leaves_the_other_samples_a_prompt() -> None:
    """The LLM breaks once; samples that were not in that pass go on as they would alone."""
    two = hashed(max_rows=2)
    turn = iter([True])
    two.runners[LLM].fail_on = lambda batch: next(turn, False)
    answers = samples(two, ask(6))
    whole = [a for a in answers if hasattr(a.end, "reason")]
    assert 4 <= len(whole) < 6
    want = [run(hashed(), [alone(ask(6), index)])[0].steps for index in range(6)]
    for index, answer in enumerate(answers):
        if answer in whole:
            assert answer.steps == want[index]


def test_an_older_sample_takes_over_what_a_younger_one_is_reading() -> None:
    """Else the oldest request could wait for one that has to give way to it. The younger reads the
    LLM's prompt (13 tokens, 4 a step); then the older comes to the LLM too."""
    two = hashed(max_step_tokens=4)
    two.submit(ask(2, policy=make("llm")))
    two.step()
    old, young = two.scheduler.active.values()
    young.rows[LLM] = row = old.rows.pop(LLM)
    two.step()
    assert (old.rows, young.rows) == ({LLM: row}, {})
    assert two.runners[LLM].cached(row) == 8
    drain(two)
    assert_clean(two)


def test_bad_numbers_of_samples_are_refused() -> None:
    with pytest.raises(BadRequest, match="n is 0; it must be at least 1"):
        hashed().submit(ask(0))


def test_sample_seeds_are_a_fixed_function() -> None:
    """The first is the seed itself, the others are splitmix64's published outputs for that state,
    without their lowest bit; none coincide among the first samples of neighbouring seeds."""
    published = [1234567, 6457827717110365317 >> 1, 3203168211198807973 >> 1]
    assert [sample_seed(1234567, index) for index in range(3)] == published
    seeds = [sample_seed(seed, index) for seed in range(40) for index in range(1, 40)]
    assert len(set(seeds)) == 40 * 39 and min(seeds) >= 0 and max(seeds) < 2**63
    assert max(seeds) > 2**62 and sample_seed(2**63 - 1, 5) < 2**63
