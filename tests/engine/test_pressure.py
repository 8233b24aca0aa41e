"""KV memory that is too small for everybody: answers stay as they were, nobody is stuck or lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rstitch.engine import kv, memory
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.pressure import SLACK, Claim, settle
from rstitch.engine.request import Request, sample_ids
from rstitch.errors import BadRequest, OutOfMemory
from rstitch.policy import make
from rstitch.types import Event, Failed, Sampling, Side, sample_seed
from tests.hashed import CONTEXT, GIB, hashed
from tests.models import Answer, assert_clean, collect, drain, engine, prompt, run
from tests.same import assert_same_answers
from tests.slabs import count_slabs

SLM, LLM = Side.SLM, Side.LLM
REWIND = make("rewind", tau=0.5, epsilon=0.01)
POLICIES = {
    "entropy": make("entropy", tau=0.5),
    "rewind": REWIND,
    "slm": make("slm"),
    "llm": make("llm"),
}


def ask(number: int, length: int, policy: str = "entropy", max_tokens: int = 40, n: int = 1) -> Any:
    """A prompt of that length on the SLM, two tokens longer on the LLM; sampled."""
    ids = tuple(2 + (number * 7 + i * i) % 13 for i in range(length))
    prompts = {SLM: ids, LLM: (3, 4, *ids)}
    sampling = Sampling(temperature=1.0, seed=number)
    return Request(prompts, POLICIES[policy], sampling, max_tokens=max_tokens, n=n)


@cache
def alone(number: int, length: int, policy: str, max_tokens: int, seed: int) -> Answer:
    """One sample by itself, with all the memory there is."""
    request = replace(ask(number, length, policy, max_tokens), sampling=Sampling(1.0, seed=seed))
    return run(hashed(), [request])[0]


# -- everything at once ---------------------------------------------------------------------------


class Pressed(RuleBasedStateMachine):
    """Requests come, run and are cancelled at random, under a bound that holds one of the longest
    and a little more."""

    def __init__(self, rectangle: bool) -> None:
        super().__init__()
        self.engine = hashed(60, rectangle, max_step_tokens=9)
        self.asked: dict[str, tuple[Any, ...]] = {}
        """Arguments of `ask` per sample, and its seed."""
        self.events: list[Event] = []
        self.cancelled: set[str] = set()
        self.idle: Counter[str] = Counter()
        """Steps in a row that the oldest request was not part of."""

    @rule(
        length=st.integers(1, 18),
        policy=st.sampled_from(["entropy", "entropy", "rewind", "slm", "llm"]),
        max_tokens=st.integers(1, 38),
        n=st.sampled_from([1, 1, 1, 2, 4]),
    )
    def submit(self, length: int, policy: str, max_tokens: int, n: int) -> None:
        number = len(self.asked)
        name = self.engine.submit(ask(number, length, policy, max_tokens, n))
        for index, sample in enumerate(sample_ids(name, n)):
            self.asked[sample] = (number, length, policy, max_tokens, sample_seed(number, index))

    @precondition(lambda self: not self.engine.idle)
    @rule(count=st.integers(1, 25))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.once()

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 50))
    def cancel(self, which: int) -> None:
        name = list(self.asked)[which % len(self.asked)]
        self.engine.cancel(name)
        self.cancelled.add(name)

    def once(self) -> None:
        before = next(iter(self.engine.scheduler.active.values()), None)
        rows = len(before.forwards) if before else 0
        self.events += self.engine.step()
        if before and before.finish is None and before.id in self.engine.scheduler.active:
            waited = len(before.forwards) == rows
            self.idle[before.id] = self.idle[before.id] + 1 if waited else 0
            assert self.idle[before.id] < 25, f"the oldest, {before.id}, does not progress"

    @invariant()
    def nothing_leaks(self) -> None:
        """Every row is somebody's."""
        active = self.engine.scheduler.active.values()
        for side, runner in self.engine.runners.items():
            held = [s.rows[side] for s in active if side in s.rows]
            held += [g.rows[side] for g in self.engine.rows._groups if side in g.rows]
            assert sorted(held) == sorted(runner.ids), f"{side.name}: {held}, open {runner.ids}"

    def teardown(self) -> None:
        for _ in range(5000):
            if self.engine.idle:
                break
            self.once()
        assert_clean(self.engine)
        answers = dict(zip(self.asked, collect(self.events, self.asked), strict=True))
        for name, answer in answers.items():
            want, got = alone(*self.asked[name]), answer.decided
            if answer.finished.reason != "cancelled":
                assert answer.steps == want.steps, f"{name} {self.asked[name]}"
                continue
            assert name in self.cancelled or name.partition(".")[0] in self.cancelled
            # What the LLM had not been asked about stays, so the end may differ in that alone.
            assert got == want.decided[: len(got)], f"{name} {self.asked[name]}"


class PressedPages(Pressed):
    def __init__(self) -> None:
        super().__init__(rectangle=False)


class PressedSlabs(Pressed):
    def __init__(self) -> None:
        super().__init__(rectangle=True)


TestPages, TestSlabs = PressedPages.TestCase, PressedSlabs.TestCase
TestPages.settings = TestSlabs.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None
)


# -- with and without pressure --------------------------------------------------------------------


@pytest.mark.parametrize("rectangle", [False, True])
@pytest.mark.parametrize("tokens", [58, 90, 150])
@pytest.mark.parametrize("owners", ["a", "abbbbc"])
def test_answers_under_pressure_are_those_without(
    tokens: int, rectangle: bool, owners: str
) -> None:
    """Twelve requests, six in flight, memory for one row of the longest, or a few. Whose turn it is
    matters not: who is due may have no memory."""
    kinds = ("entropy", "rewind", "entropy", "slm")
    asked = [replace(ask(n, 3 + n, kinds[n % 4]), ignore_eos=True) for n in range(12)]
    requests = [replace(one, owner=owners[n % len(owners)]) for n, one in enumerate(asked)]
    pressed = hashed(tokens, rectangle)
    got, want = run(pressed, requests), run(hashed(), requests)
    assert [a.steps for a in got] == [a.steps for a in want]
    if tokens < 100:
        assert sum(pressed.rows.drops.values()) > 3, "the test says nothing without drops"


def test_the_order_of_giving_way_costs_little() -> None:
    """What is fed in all under a bound that holds half of the rows, over what is fed without one:
    rows that had to give way wait until there is room, instead of evicting each other in turn."""
    requests = [replace(ask(n, 8), ignore_eos=True) for n in range(24)]
    fed = []
    for tokens in (None, 120):
        two = hashed(tokens)
        run(two, requests)
        fed.append(sum(len(t) for r in two.runners.values() for call in r.calls for t in call))
    assert fed[1] < 2.5 * fed[0], fed


def random_pair(requests: Sequence[Request], **options: Any) -> tuple[list[Answer], Any]:
    pair = engine(**options)
    return run(pair, requests), pair


@pytest.mark.parametrize("rows", [1.2, 3.0])
@pytest.mark.parametrize("n", [1, 3])
def test_a_random_pair_under_a_bound(rows: float, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real models: recomputed KV gives the same answers, and at no moment is there more KV than
    `kv_memory` allows, slabs that are being replaced and shared prompts included."""
    monkeypatch.setattr(kv, "MIN_SHARED", 4)
    requests = [
        Request(
            {SLM: prompt(5 + 9 * i, i), LLM: prompt(40 - 5 * i, 50 + i)},
            make("entropy", tau=0.5 + 0.03 * i),
            max_tokens=60,
            ignore_eos=True,
            n=n,
        )
        for i in range(7)
    ]
    wanted = [replace(request, n=1) for request in requests for _ in range(n)]  # all greedy
    want, plain = random_pair(wanted)
    token = sum(runner.token_bytes for runner in plain.runners.values())
    # 119 tokens is the longest row in the end; a slab of the SLM's is half of all its KV.
    bound = int(rows * 119 * 1.5 * token)
    pair = engine(kv_memory=bound / GIB)
    assert min(pair.rows.limits.values()) >= 119, pair.rows.limits
    alive = count_slabs(monkeypatch)
    names = [pair.submit(request) for request in requests]
    got = collect(drain(pair), [one for name in names for one in sample_ids(name, n)])
    assert_clean(pair)
    assert_same_answers(got, want, wanted)
    assert alive[0] == sum(runner.nbytes for runner in pair.runners.values()) <= bound
    assert 0 < alive[1] <= bound, f"{alive[1]} bytes at the peak, {bound} allowed"
    assert sum(pair.rows.drops.values()) > 3
    assert pair.stats()["kv"]["llm"]["bound"] <= bound


# -- refused, or cut ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_what_can_never_fit_is_refused_at_once(side: Side) -> None:
    two = hashed(20)
    request = ask(0, 18 if side is LLM else 20, "entropy" if side is LLM else "slm")
    tokens = len(request.prompts[side])
    message = (
        f"the prompt has {tokens} tokens for the {side.name}, whose KV memory of 20 bytes holds "
        r"20 in all; shorten it to at most 19, or raise kv_memory \(a token takes 2 bytes\)"
    )
    with pytest.raises(BadRequest, match=message):
        two.submit(request)
    assert two.idle
    assert run(two, [ask(0, 17, max_tokens=1)])[0].finished.reason == "length"


def test_a_request_that_outgrows_memory_alone_ends_with_length() -> None:
    """As with a full context, it has what fits: 30 tokens on the side with the longer prompt."""
    whole = run(hashed(), [ask(3, 10, max_tokens=64)])[0]
    (cut,) = run(hashed(30), [ask(3, 10, max_tokens=64)])
    assert (len(cut.tokens), cut.finished.reason) == (30 - 12, "length")
    assert cut.steps == whole.steps[: len(cut.steps)] and len(whole.tokens) > 18


def test_a_long_prompt_in_chunks_under_pressure() -> None:
    """The oldest reads 50 tokens, 4 a step, while five short ones come and go beside it."""
    requests = [ask(0, 46, max_tokens=3), *(ask(n, 3) for n in range(1, 6))]
    got = run(hashed(60, max_step_tokens=4), requests)
    assert [a.steps for a in got] == [a.steps for a in run(hashed(), requests)]


# -- the order of giving way ----------------------------------------------------------------------


def claim(name: str, have: int | None, want: int) -> Claim[str]:
    """Upper case: active; "O" and "o" are of the oldest request."""
    return Claim(name, have, want, name.isupper(), name in "Oo")


def pages(room: int) -> Any:
    return lambda lengths: sum(lengths) <= room


def test_parked_rows_give_way_before_active_ones_and_the_young_before_the_old() -> None:
    claims = [claim("o", 9, 9), claim("A", 9, 10), claim("b", 9, 9), claim("C", 9, 10)]
    claims += [claim("d", 9, 9)]
    given_up = []
    for room in range(47, 8, -1):
        _, dropped = settle(claims, pages(room), 64)
        if dropped not in given_up:
            given_up.append(dropped)
    assert given_up == [[], ["d"], ["b", "d"], ["C", "b", "d"], ["A", "C", "b", "d"]], given_up


def test_an_active_row_without_room_to_grow_keeps_what_it_has_where_that_fits() -> None:
    claims = [claim("O", 9, 10), claim("A", 9, 10)]
    assert settle(claims, pages(19), 64) == (["A"], [])
    assert settle(claims, pages(18), 64) == (["A"], ["A"])


def test_nobody_loses_a_row_for_one_who_gets_none() -> None:
    """The active newcomer needs 40 and would outrank the parked row; but it does not fit anyway."""
    claims = [claim("O", 9, 10), claim("b", 9, 9), claim("N", None, 40)]
    assert settle(claims, pages(30), 64) == (["b", "N"], [])


def test_a_newcomer_needs_some_slack() -> None:
    claims = [claim("O", 9, 10), claim("N", None, 5)]
    enough = 10 + 5 + 2 * SLACK
    assert settle(claims, pages(enough), 64) == ([], [])
    assert settle(claims, pages(enough - 1), 64) == (["N"], [])


@given(
    rows=st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(0, 30), st.integers(1, 4)), min_size=1
    ),
    room=st.integers(34, 200),
)
def test_what_is_settled_fits_and_the_first_rank_is_served(rows: Any, room: int) -> None:
    claims = [
        Claim(i, have, (have or 0) + more if runs else have, runs, i == 0)
        for i, (runs, have, more) in enumerate(rows)
        if runs or have is not None
    ]
    denied, dropped = settle(claims, pages(room), 64)
    kept = [c.have if c.owner in denied else c.want for c in claims if c.owner not in dropped]
    assert sum(n for n in kept if n is not None) <= room
    assert set(dropped) <= set(denied)
    running = [c for c in claims if c.active]
    if claims and claims[0].owner == 0:
        assert 0 not in denied
    elif running:
        assert running[0].owner not in denied


# -- where the default comes from -----------------------------------------------------------------


def test_the_default_bound_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "of_device", lambda device: memory.Memory(9000, 1000))
    two = hashed()
    assert memory.bound(two.runners, None, "cpu") == {SLM: 250, LLM: 250}
    assert memory.bound(two.runners, 100 / GIB, "cpu") == {SLM: 50, LLM: 50}
    assert memory.bound(two.runners, None, "cpu", 600) == {SLM: 100, LLM: 100}
    assert memory.bound(two.runners, None, "cpu", 2000) == {SLM: 0, LLM: 0}


def test_the_context_still_bounds_what_memory_does_not() -> None:
    two: InProcessEngine = hashed()
    assert two.rows.limits == {SLM: CONTEXT, LLM: CONTEXT}
    ids = [two.submit(ask(3, 10, max_tokens=500))]
    (answer,) = collect(drain(two), ids)
    assert answer.finished.reason in ("stop", "length")


def test_a_row_that_cannot_be_made_ends_those_who_asked_and_not_the_engine() -> None:
    """The machine's memory can run out before the bound does."""
    two = hashed()
    ids = [two.submit(ask(n, 4)) for n in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two.runners[SLM], "open", lambda: 1 // 0)
        answers = collect(two.step(), ids)
    assert all(isinstance(answer.end, Failed) for answer in answers)
    assert_clean(two)
    assert run(two, [ask(3, 10)])[0].steps == run(hashed(), [ask(3, 10)])[0].steps


def test_memory_that_runs_out_where_a_row_is_made_is_told_as_such() -> None:
    def none_left() -> int:
        raise MemoryError

    two = hashed()
    ids = [two.submit(ask(n, 4)) for n in range(3)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(two.runners[SLM], "open", none_left)
        answers = collect(two.step(), ids)
    errors = [answer.end.error for answer in answers if isinstance(answer.end, Failed)]
    assert len(errors) == 3 and all(isinstance(error, OutOfMemory) for error in errors)
    assert_clean(two)
