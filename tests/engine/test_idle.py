"""KV kept between requests: answers stay what they are, less is read, nothing leaks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.idle import WORTH, IdleRows, common
from rstitch.engine.request import Request, sample_ids
from rstitch.engine.vocabulary import Translation
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.types import Failed, Sampling, Side
from tests.fakes import Scripted, says
from tests.hashed import hashed
from tests.models import Answer, assert_clean, collect, drain, engine, prompt, run
from tests.same import assert_same_answers

SLM, LLM = Side.SLM, Side.LLM
STITCH = make("entropy", tau=0.5)


def ids(length: int, seed: int = 0) -> tuple[int, ...]:
    pick = random.Random(seed)
    return tuple(pick.randrange(2, 16) for _ in range(length))


def ask(slm: Sequence[int], llm: Sequence[int], policy: Policy = STITCH, **more: Any) -> Request:
    given = {"prompts": {SLM: tuple(slm), LLM: tuple(llm)}, "policy": policy, "max_tokens": 12}
    return Request(**{**given, "reuse": "", **more})


def alone(request: Request) -> list[Any]:
    return run(hashed(), [replace(request, reuse=None)])[0].steps


def found(answer: Answer) -> tuple[int, int]:
    usage = answer.finished.usage
    return usage.slm_cached_tokens, usage.llm_cached_tokens


def idle(two: InProcessEngine) -> tuple[int, int]:
    return len(two.rows.idle[SLM]), len(two.rows.idle[LLM])


# -- the store ------------------------------------------------------------------------------------


@given(some.lists(some.integers(0, 2)), some.lists(some.integers(0, 2)))
def test_the_common_beginning(one: list[int], other: list[int]) -> None:
    want = 0
    while want < min(len(one), len(other)) and one[want] == other[want]:
        want += 1
    assert common(tuple(one), tuple(other)) == want
    assert common(tuple(one), (*one, *other)) == len(one)


def store(most: int, *rows: tuple[Sequence[int], str]) -> tuple[IdleRows, Scripted]:
    runner = Scripted(says(), 0)
    kept = IdleRows(runner, most)
    for held, space in rows:
        row = runner.open()
        runner.ids[row] = list(held)
        runner.kv.length[row] = len(held)
        kept.leave(row, tuple(held), space)
    return kept, runner


BASE = ids(40)


def test_the_row_with_most_in_common_is_taken_and_cut_to_that() -> None:
    ends = BASE[:20] + ids(20, 1), BASE[:30] + (0,) * 10, ids(40, 2)
    kept, runner = store(4, *((end, "") for end in ends))
    row = kept.take(BASE, "")
    assert row == 1 and runner.ids[1] == list(BASE[:30])
    assert [one.row for one in kept] == [0, 2]
    assert kept.take(BASE[:20], "") == 0 and runner.ids[0] == list(BASE[:20])
    assert kept.take(BASE, "") is None and len(kept) == 1


def test_of_equals_the_one_left_longest_ago_is_taken() -> None:
    kept, _ = store(4, (BASE[:20], ""), (BASE[:20] + (0,), ""))
    assert kept.take(BASE, "") == 0


@pytest.mark.parametrize(("length", "worth"), [(WORTH - 1, False), (WORTH, True)])
def test_little_in_common_is_not_worth_it(length: int, worth: bool) -> None:
    kept, runner = store(4, (BASE[:length] + (0,) * 9, ""))
    assert (kept.take(BASE, "") is not None) is worth
    few, runner = store(4, (BASE[:length], ""))
    assert len(few) == len(runner.ids) == worth, "a short row was kept"


def test_spaces_are_apart() -> None:
    kept, _ = store(4, (BASE, "ann"), (BASE[:20], "ben"))
    assert kept.take(BASE, "") is None
    assert kept.take(BASE, "ben") == 1
    assert kept.take(BASE, "ben") is None


def test_the_oldest_gives_way_and_none_are_kept_where_none_may_be() -> None:
    kept, runner = store(2, *((ids(20, n), "") for n in range(4)))
    assert [one.ids for one in kept] == [ids(20, 2), ids(20, 3)]
    assert len(runner.ids) == 2 and kept.lengths == [20, 20]
    kept.clear()
    assert (len(kept), runner.ids) == (0, {})
    none, runner = store(0, (BASE, ""))
    assert (len(none), runner.ids) == (0, {})


def test_what_a_row_has_lost_is_not_reused() -> None:
    kept, runner = store(2, (BASE, ""))
    runner.truncate(0, WORTH + 2)
    row = kept.take(BASE, "")
    assert row == 0 and runner.cached(0) == WORTH + 2
    kept, runner = store(2, (BASE, ""))
    runner.truncate(0, 0)
    assert kept.take(BASE, "") is None


# -- turns of a chat ------------------------------------------------------------------------------


def test_the_next_turn_reads_what_is_new_alone() -> None:
    """20 and 22 tokens of prompt; the next turn has them, the answer and 5 more. The last token of
    an answer was never fed."""
    two, first = hashed(), ask(ids(20), ids(22, 1), max_tokens=8, ignore_eos=True)
    (answer,) = run(two, [first])
    assert found(answer) == (0, 0)
    used = [side for side in Side if any(p.side is side for p in answer.proposals)]
    assert used == [SLM, LLM] and idle(two) == (1, 1)
    cached = {side: len(next(iter(two.rows.idle[side])).ids) for side in Side}
    more = (*answer.tokens, 7, 7, 7, 7, 7)
    second = ask(first.prompts[SLM] + more, first.prompts[LLM] + more)
    (again,) = run(two, [second])
    assert again.steps == alone(second)
    assert found(again)[0] == cached[SLM] >= 20 + 6
    assert again.finished.usage.cached_tokens == max(found(again))
    for side in Side:
        passes = [f for f in again.finished.forwards if f.side is side]
        if passes:
            assert passes[0].context - passes[0].new_tokens == cached[side]
    assert idle(two) == (1, 1)


def test_what_a_template_strips_ends_the_common_part() -> None:
    """The answer is left out of the next prompt, which goes on after the first one."""
    two, first = hashed(), ask(ids(20), ids(20), make("llm"), ignore_eos=True)
    run(two, [first])
    second = ask(ids(20), ids(20) + ids(9, 3), make("llm"))
    (again,) = run(two, [second])
    assert again.steps == alone(second) and found(again)[1] in range(20, 23)


def test_the_same_prompt_again_reads_its_last_token_alone() -> None:
    two, request = hashed(), ask(ids(24), ids(24), make("slm"))
    first, again = (run(two, [request])[0] for _ in range(2))
    assert again.steps == first.steps == alone(request)
    assert (found(again), again.finished.forwards[0].new_tokens) == ((23, 0), 1)


def test_each_side_takes_what_it_has() -> None:
    """The LLM wrote alone; the next request's SLM reads all of its prompt."""
    two, given = hashed(), ids(30)
    run(two, [ask(given, given, make("llm"))])
    (answer,) = run(two, [ask(given, given, make("random", p=1, q=1))])
    assert found(answer) == (0, 29)
    assert answer.steps == alone(ask(given, given, make("random", p=1, q=1)))


@pytest.mark.parametrize(
    ("mine", "theirs", "reused"), [("a", "b", 0), ("a", "a", 29), (None, "a", 0)]
)
def test_rows_stay_in_their_space(mine: str | None, theirs: str, reused: int) -> None:
    two, given = hashed(), ids(30)
    run(two, [ask(given, given, make("slm"), reuse=theirs)])
    (answer,) = run(two, [ask(given, given, make("slm"), reuse=mine)])
    assert found(answer) == (reused, 0)
    assert idle(two)[0] == (1 if reused or mine is None else 2)


def test_several_samples_neither_take_nor_leave() -> None:
    two, given = hashed(), ids(30)
    run(two, [ask(given, given, make("slm"))])
    request = ask(given, given, make("slm"), n=3, sampling=Sampling(1.0, seed=4))
    name = two.submit(request)
    answers = collect(drain(two), sample_ids(name, 3))
    assert_clean(two)
    assert idle(two) == (1, 0)
    assert [a.steps for a in answers] == [a.steps for a in run_alone(request)]
    assert [found(answer)[0] for answer in answers] == [0, 29, 29], "the first reads for all"


def test_no_rows_are_kept_where_idle_rows_is_0() -> None:
    two = hashed(idle_rows=0)
    for _ in range(2):
        (answer,) = run(two, [ask(ids(30), ids(30))])
        assert (found(answer), idle(two)) == ((0, 0), (0, 0))
    with pytest.raises(BadRequest, match=r"idle_rows is -1; it must be 0 \(off\) or more"):
        hashed(idle_rows=-1)
    with pytest.raises(BadRequest, match="reuse is 5; it must be a name, or None"):
        two.submit(ask(ids(30), ids(30), reuse=5))


def test_rows_hold_each_sides_own_ids() -> None:
    """10 and 11 are the other way round; the LLM's row has both sides' tokens as its own."""
    two = hashed(max_rows=1)
    table = Translation(
        moved=dict.fromkeys(Side, {10: 11, 11: 10}), lost={SLM: {}, LLM: {}},
        sources={SLM: "small", LLM: "large"},
    )  # fmt: skip
    pair = InProcessEngine(two.runners, frozenset({1}), two.config, translation=table)
    (first,) = run(pair, [ask(ids(20), ids(20), max_tokens=40)])
    written = {(p.token, p.side) for p in first.proposals if p.keep}
    assert written >= {(10, SLM), (11, LLM)} or written >= {(11, SLM), (10, LLM)}, written
    assert idle(pair) == (1, 1)


# -- the end of idle rows -------------------------------------------------------------------------


def test_a_cancelled_answer_leaves_its_rows_and_close_frees_them() -> None:
    two = hashed(max_step_tokens=18)
    name = two.submit(ask(ids(30), ids(30), make("slm")))
    two.step()
    two.cancel(name)
    drain(two)
    (left,) = two.rows.idle[SLM]
    assert left.ids == ids(30)[:18], "read as far as the first chunk"
    assert two.stats()["kv"]["slm"] == {
        **two.stats()["kv"]["slm"],
        "idle_rows": 1,
        "idle_tokens": 18,
    }
    assert_clean(two)
    two.close()
    assert idle(two) == (0, 0)
    assert_clean(two)


def test_forgetting_frees_them() -> None:
    two = hashed()
    run(two, [ask(ids(30), ids(30))])
    two.forget()
    assert idle(two) == (0, 0)
    assert_clean(two)


def test_a_pass_that_fails_frees_them_all() -> None:
    """Out of memory they may have lost what they held; and the room is wanted."""
    two = hashed()
    run(two, [ask(ids(30, n), ids(30, n)) for n in range(2)])
    assert idle(two)[0] == 2
    two.runners[SLM].fail_on = lambda batch: True
    name = two.submit(ask(ids(30), ids(30)))
    (answer,) = collect(drain(two), [name])
    assert isinstance(answer.end, Failed) and idle(two) == (0, 0)
    assert_clean(two)
    two.runners[SLM].fail_on = lambda batch: False
    assert run(two, [ask(ids(30), ids(30))])[0].steps == alone(ask(ids(30), ids(30)))


def test_they_give_way_where_slots_are_needed() -> None:
    """Three rows: of the idle ones, those left longest ago go first."""
    two = hashed(max_rows=3)
    for n in range(4):
        run(two, [ask(ids(30, n), ids(30, n), make("slm"))])
    assert [one.ids[:30] for one in two.rows.idle[SLM]] == [ids(30, n) for n in (1, 2, 3)]
    requests = [ask(ids(30, 10 + n), ids(30, 10 + n), make("slm")) for n in range(2)]
    names = [two.submit(request) for request in requests]
    events = two.step()
    assert [one.ids[:30] for one in two.rows.idle[SLM]] == [ids(30, 3)]
    answers = collect(events + drain(two), names)
    assert [a.steps for a in answers] == [alone(request) for request in requests]
    assert sum(two.rows.drops.values()) == 0, "nobody in flight has lost anything"


@pytest.mark.parametrize("rectangle", [False, True])
def test_they_give_way_where_memory_is_needed(rectangle: bool) -> None:
    two = hashed(100, rectangle)
    for n in range(3):
        run(two, [ask(ids(25, n), ids(25, n), max_tokens=5)])
    assert idle(two)[0] > 1
    (answer,) = run(two, [long := ask(ids(60, 7), ids(60, 7), max_tokens=4)])
    assert answer.steps == alone(long)
    assert sum(two.rows.drops.values()) == 0
    assert sum(two.rows.idle[SLM].lengths) <= 100


# -- random histories -----------------------------------------------------------------------------

SPACES = ("", "", "", "ann", None)
POLICIES = [STITCH, make("slm"), make("llm"), make("random", p=0.4, q=0.5)]
POLICIES += [make("rewind", tau=0.5, epsilon=0.3)]


def history(seed: int) -> list[Request]:
    """Requests whose prompts go on from each other's, from the middle of them, or anew."""
    pick, texts, requests = random.Random(seed), [ids(24, seed)] * 3, list[Request]()
    for n in range(14):
        sides = [pick.choice(texts) for _ in Side]
        cuts = [pick.randint(18, len(text)) for text in sides]
        slm, llm = (
            (text[:cut] + ids(pick.randint(0, 9), n))[:44]
            for text, cut in zip(sides, cuts, strict=True)
        )
        texts += [slm, llm] if n % 4 else [ids(20, 99 + n)]
        more = {"reuse": pick.choice(SPACES), "n": pick.choice([1, 1, 1, 2])}
        sampling = Sampling(pick.choice([0.0, 1.0]), seed=n)
        requests.append(ask(slm, llm, pick.choice(POLICIES), sampling=sampling, **more))
    return requests


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_rows": 2, "idle_rows": 3},
        {"tokens": 110, "rectangle": True},
        {"tokens": 90, "max_step_tokens": 7, "idle_rows": 9},
    ],
    ids=str,
)
def test_whatever_happens_answers_are_those_of_an_engine_without_reuse(
    settings: dict[str, Any],
) -> None:
    reused = sum(play(seed, settings) for seed in range(8))
    assert reused > 300, f"the test says nothing with {reused} tokens reused"


def play(seed: int, settings: dict[str, Any]) -> int:
    """Requests come as one goes along, some when others have ended; some are cancelled on the way.
    Returns the tokens that were reused."""
    two, pick, requests = hashed(**settings), random.Random(seed), history(seed)
    names, events, reused = list[str](), list[Any](), 0
    for request in requests:
        names.append(two.submit(request))
        if pick.random() < 0.2:
            two.cancel(pick.choice(names))
        for _ in range(pick.choice([0, 1, 5, 60])):
            events += two.step()
    events += drain(two)
    assert_clean(two)
    for name, request in zip(names, requests, strict=True):
        answers = collect(events, sample_ids(name, request.n))
        for got, whole in zip(answers, run_alone(request), strict=True):
            steps, cut = got.decided, got.finished.reason == "cancelled"
            assert steps == (whole.decided[: len(steps)] if cut else whole.decided), (seed, request)
            reused += sum(found(got)) if request.n == 1 else 0
    two.close()
    assert_clean(two)
    return reused


def run_alone(request: Request) -> list[Answer]:
    two = hashed(idle_rows=0)
    name = two.submit(request)
    return collect(drain(two), sample_ids(name, request.n))


# -- a real model ---------------------------------------------------------------------------------


def conversation(seed: int, policy: Policy, sampling: Sampling) -> list[Request]:
    """Three turns, each with what was asked before, without the answers in between, which tests
    write as other random tokens would; and a last one that turns back to the first."""
    start = prompt(40, seed)
    turns = [
        start,
        start + prompt(30, seed + 1),
        start + prompt(30, seed + 1) + prompt(9, seed + 2),
    ]
    turns.append(start + prompt(12, seed + 3))
    return [
        Request(
            prompts={SLM: turn, LLM: turn[3:]}, policy=policy, max_tokens=15, sampling=sampling,
            reuse="",
        )
        for turn in turns
    ]  # fmt: skip


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.9, seed=5)], ids=["greedy", "hot"])
@pytest.mark.parametrize(
    "policy",
    [
        make("entropy", tau=0.65),
        make("rewind", tau=0.7, epsilon=0.002),
        make("random", p=0.3, q=0.4),
    ],
    ids=lambda policy: policy.name,
)
def test_answers_of_a_random_pair_are_the_same(policy: Policy, sampling: Sampling) -> None:
    """Two conversations, turn by turn, one beside the other."""
    chats = [conversation(seed, policy, replace(sampling, seed=3)) for seed in (10, 20)]
    two, got, requests = engine(), list[Answer](), list[Request]()
    for turns in zip(*chats, strict=True):
        got += run(two, turns)
        requests += turns
    want = [run(engine(), [replace(request, reuse=None)])[0] for request in requests]
    assert_same_answers(got, want, requests)
    assert sum(answer.finished.usage.slm_cached_tokens for answer in got) > 200
    two.close()
    assert_clean(two)
