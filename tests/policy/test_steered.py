"""The steered policy: worked by hand, what no answer may exceed, and one row as many."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as some

from rstitch import explain
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.steered import Row, Steered
from rstitch.types import Sampling, Side
from tests.engine.asking import ask
from tests.fakes import says, scripted, unsure
from tests.models import run
from tests.policy.reading import (
    LEAVE_LLM,
    LEAVE_SLM,
    LLM,
    SLM,
    STAY_LLM,
    signals,
    states,
)
from tests.test_explain import copied, found_at

STEPS = {"slm_step": 0.1, "llm_step": 0.4}
PROMPT = 30
"""Tokens."""


def steered(tau: float = 0.3, **limits: Any) -> Steered:
    found = make("steered", tau=tau, **limits)
    assert isinstance(found, Steered)
    return found


def written(
    policy: Policy, entropies: list[float], seconds: float = 0.0
) -> tuple[str, list[list[float]]]:
    """Who wrote each kept token (s or l) where both sides say these entropies at each position, and
    the state after each proposal; a proposal every so many seconds."""
    state, turn, rows, who, now = states(policy, 1), policy.start(), [], "", 0.0
    while len(who) < len(entropies):
        now += seconds
        seen = signals(turn, entropies[len(who)], elapsed=now, context=PROMPT + len(who))
        decision = policy.decide(seen, state)
        if decision.keep[0]:
            who += turn.label[0]
        state, turn = decision.state, Side(int(decision.next_side[0]))
        rows.append(state[0].tolist())
    return who, rows


def writers(policy: Policy, entropies: list[float], seconds: float = 0.0) -> str:
    return written(policy, entropies, seconds)[0]


# -- by hand --------------------------------------------------------------------------------------


def test_a_number_of_tokens() -> None:
    """Unsure at every position: the LLM writes the first three and nothing after."""
    assert writers(steered(max_llm_tokens=3), [0.9] * 7) == "lllssss"
    assert writers(steered(max_llm_tokens=0), [0.9] * 3) == "sss"


def test_a_share_of_what_is_written_so_far() -> None:
    """A quarter to the nearest token: l <= n / 4 + 1/2, so from the 2nd, 6th and 10th token on."""
    assert writers(steered(max_llm_share=0.25), [0.9] * 11) == "slssslssslss"[:11]


def test_what_a_share_allows_of_the_shortest_answer_is_there_at_once() -> None:
    """Of eight tokens a quarter is two, with the half token too; the third from the tenth on."""
    policy = steered(max_llm_share=0.25, shortest=8)
    assert writers(policy, [0.9] * 11) == "llssssssslss"[:11]


def test_what_a_share_allows_of_the_rest_may_be_spent_ahead() -> None:
    """A quarter of n + 3 tokens and half a token: one at once, the second from the 3rd on."""
    policy = steered(max_llm_share=0.25, after=3)
    assert writers(policy, [0.9] * 8) == "lslssslss"[:8]


def test_a_deadline() -> None:
    """0.1 s per SLM step, 0.4 per LLM step, five tokens to come, 1.4 s, of which 0.9 is planned.
    Beside the SLM's four after this one, 0.9 (1.4 - 0.1) - 0.4 leave an LLM step; beside three,
    0.9 (1.4 - 0.5) - 0.3 leave another; beside two, 0.9 (1.4 - 0.9) - 0.2 do not."""
    policy = steered(deadline=1.4, longest=5, **STEPS)
    state, said = states(policy, 1), []
    for kept, (side, elapsed) in enumerate(((SLM, 0.1), (LLM, 0.5), (LLM, 0.9))):
        seen = signals(side, 0.9, elapsed=elapsed, context=PROMPT + max(0, kept - 1))
        decision = policy.decide(seen, state)
        state = decision.state
        said.append((Side(int(decision.next_side)), bool(decision.keep)))
    assert said == [LEAVE_SLM, STAY_LLM, LEAVE_LLM]


def test_a_deadline_that_has_passed_is_the_slm_s() -> None:
    assert writers(steered(deadline=0.0, **STEPS), [0.9] * 4, seconds=0.1) == "ssss"


def test_the_llm_s_first_step_says_nothing_of_its_next() -> None:
    """It may have found the prompt read already; what it takes after that is what a step takes."""
    policy = steered(deadline=100.0, longest=50, llm_token=0.01, **STEPS)
    _, rows = written(policy, [0.9] * 3, seconds=0.2)
    learnt = [Row(*row).llm_step for row in rows]
    assert learnt[:2] == pytest.approx([0.4, 0.4])
    assert learnt[2] == pytest.approx(0.4 + (0.2 - 0.4) / 4)


def test_what_the_llm_has_to_read_again_is_counted_in_kept_tokens() -> None:
    """Whatever the prompts' lengths are: after one SLM token it has that one to read beside the
    step's own, so of 0.2 seconds 0.19 were the step's."""
    policy = steered(deadline=100.0, longest=50, llm_token=0.01, **STEPS)
    state = states(policy, 1)
    proposals = [(SLM, 0.9, 130), (LLM, 0.1, 30), (SLM, 0.1, 131), (SLM, 0.9, 132), (LLM, 0.1, 32)]
    for i, (side, entropy, context) in enumerate(proposals):
        seen = signals(side, entropy, elapsed=0.2 * (i + 1), context=context)
        state = policy.decide(seen, state).state
    assert Row(*state[0].tolist()).llm_step == pytest.approx(0.4 + (0.19 - 0.4) / 4)


def test_what_the_llm_has_not_read_is_paid_for_first() -> None:
    """As before with 0.01 s for each token that it has to read beside its step's one: 29 of the
    prompt, so 0.1 + (0.4 + 0.29 + 0.4) / 0.9 s with the SLM's four, and then a step is a step."""
    seen = [signals(SLM, 0.9, elapsed=0.1, context=PROMPT)]
    seen += [signals(LLM, 0.9, elapsed=0.79, context=PROMPT)]
    for deadline, goes_on in ((1.30, SLM), (1.33, LLM)):
        policy = steered(deadline=deadline, longest=5, llm_token=0.01, **STEPS)
        decision = policy.decide(seen[0], states(policy, 1))
        assert int(decision.next_side) == goes_on
    row = Row(*policy.decide(seen[1], decision.state).state[0].tolist())
    assert (row.kept, row.llm_step) == (1, pytest.approx(0.4)), "reading is no step"
    later = row._replace(slm_step=0.1, last=0.9, deadline=1 + 1 / 0.9)
    for unread, goes_on in ((19, LLM), (21, SLM)):  # of 1 s the SLM needs 0.4, the step 0.4
        later = later._replace(kept=1.0 + unread, longest=6.0 + unread)
        state = torch.tensor([later], dtype=torch.float32)
        asked = signals(SLM, 0.9, elapsed=1.0, context=PROMPT + 1 + unread)
        assert int(policy.decide(asked, state).next_side) == goes_on


def test_steps_slower_than_was_said_count() -> None:
    """The SLM was said to take 0.1 s and takes 0.5: of what it was wrong by, 15 / 16 are left after
    each step. The first has read the prompt, so it says nothing."""
    _, rows = written(steered(deadline=90.0, longest=50, **STEPS), [0.0] * 17, seconds=0.5)
    assert Row(*rows[0]).slm_step == np.float32(0.1)
    assert Row(*rows[-1]).slm_step == pytest.approx(0.5 - 0.4 * (15 / 16) ** 16)
    policy = steered(deadline=9.9, longest=10, slm_step=0.1, llm_step=7.0)
    said = Row(*states(policy, 1)[0].tolist())
    slow = said._replace(last=0.4, slm_step=0.5)
    for row, next_side in ((said, LLM), (slow, SLM)):  # 0.9 (9.9 - 0.9) beside nine steps
        state = torch.tensor([row], dtype=torch.float32)
        asked = signals(SLM, 0.9, elapsed=0.9, context=PROMPT)
        assert int(policy.decide(asked, state).next_side) == next_side


def test_tau_moves_towards_the_ceiling() -> None:
    """Share 0.2, gain 0.5, 20 tokens. After the LLM's first 3.5 are left for 19 positions, after
    its second 2.5 for 18: tau rises by a factor of 1 + 0.5 (1 - 3.5 / 19), 1 + 0.5 (1 - 2.5 / 18);
    the SLM's next lowers it by 0.5 * 2.5 / 18. It never falls below where it began."""
    policy = steered(0.2, max_llm_share=0.2, shortest=20, longest=20, gain=0.5)
    asked, *moved = (Row(*row).moving for row in written(policy, [0.31, 0.2, 0.0])[1])
    assert asked == np.float32(0.2), "a discarded token is none"
    factors = 1 + 0.5 * (1 - 3.5 / 19), 1 + 0.5 * (1 - 2.5 / 18), 1 - 0.5 * 2.5 / 18
    assert moved == pytest.approx(0.2 * np.cumprod(factors))
    assert Row(*written(policy, [0.31] + [0.0] * 40)[1][-1]).moving == np.float32(0.2)


# -- both ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "sides"),
    [
        ({}, (SLM, LLM)),
        ({"max_llm_share": 0.0}, (SLM,)),
        ({"max_llm_tokens": 0}, (SLM,)),
        ({"max_llm_share": 1.0}, (SLM, LLM)),
        ({"tau": 1.0, "max_llm_share": 0.5}, (SLM,)),
        ({"tau": -1.0}, (LLM,)),
        ({"tau": -1.0, "max_llm_share": 1}, (LLM,)),
        ({"tau": -1.0, "max_llm_share": 0.5}, (SLM, LLM)),
    ],
)
def test_the_sides_that_it_can_use(limits: dict[str, Any], sides: tuple[Side, ...]) -> None:
    policy = steered(**limits)
    assert (policy.sides(), policy.start()) == (sides, sides[0])
    if len(sides) == 1:
        assert set(writers(policy, [0.0, 1.0, 0.5] * 5)) == {sides[0].label[0]}


@given(some.lists(some.floats(0, 1, width=32), min_size=1, max_size=60), some.floats(0, 1.2))
def test_without_a_limit_that_binds_it_is_the_entropy_rule(
    entropies: list[float], tau: float
) -> None:
    plain = writers(make("entropy", tau=tau), entropies)
    for limits in ({}, {"max_llm_share": 1.0}, {"max_llm_tokens": 60, "longest": 60}):
        assert writers(steered(tau, **limits), entropies) == plain


# -- what no answer exceeds -----------------------------------------------------------------------


@given(
    some.lists(some.floats(0, 1, width=32), min_size=1, max_size=80),
    some.floats(0, 1),
    some.integers(0, 40),
    some.integers(0, 30),
    some.integers(0, 9),
    some.floats(0, 1),
)
def test_the_guard_holds_for_any_entropies(
    entropies: list[float], share: float, most: int, shortest: int, after: int, gain: float
) -> None:
    """Wherever the answer ends: at most the share of it and `after` more tokens, or of `shortest`,
    and half a token; never more than the tokens allowed."""
    policy = steered(
        0.1, max_llm_share=share, max_llm_tokens=most, shortest=shortest, after=after, gain=gain
    )
    who = writers(policy, entropies)
    for n in range(1, len(who) + 1):
        llm = who[:n].count("l")
        assert llm <= most
        assert llm <= share * max(n + after, shortest) + 0.5 + 1e-5, (who[:n], share)


@given(
    some.lists(some.floats(0, 1, width=32), min_size=1, max_size=40),
    some.integers(0, 100),
)
def test_a_deadline_is_met_where_steps_take_what_was_said(
    entropies: list[float], spare: int
) -> None:
    """In 64ths of a second, which add up exactly: 2 per SLM proposal and 8 per LLM token, 40 SLM
    tokens and something to spare. What the LLM gets is never more than what was to spare."""
    deadline = (2 * 40 + spare) / 64
    policy = steered(0.1, deadline=deadline, longest=40, slm_step=2 / 64, llm_step=8 / 64, gain=0.5)
    state, turn, now, kept, llm = states(policy, 1), policy.start(), 0.0, 0, 0
    while kept < len(entropies):
        now += (8 if turn is LLM else 2) / 64
        seen = signals(turn, entropies[kept], elapsed=now, context=PROMPT + kept)
        decision = policy.decide(seen, state)
        kept, llm = kept + int(decision.keep), llm + (turn is LLM)
        state, turn = decision.state, Side(int(decision.next_side))
    assert now <= deadline, (now, deadline, llm)
    if spare < 8:
        assert llm == 0


# -- one row and many -----------------------------------------------------------------------------

numbers = some.floats(0, 1, width=32)


@given(some.lists(some.tuples(some.sampled_from(Side), numbers, numbers), max_size=30), numbers)
@example([(SLM, h, 0.1) for h in (0.0, 0.1, 0.0, 0.9)] + [(LLM, 0.0, 0.3)] * 2, 1.0)
@example([(SLM, 0.1, 0.0)] * 3 + [(SLM, 0.1, 0.7)] * 9, 0.0)
def test_plain_numbers_are_the_batched_rule(
    proposals: list[tuple[Side, float, float]], share: float
) -> None:
    """Bit by bit, state included, over a walk; for one row of many with other parameters."""
    ours = steered(
        0.2, max_llm_share=share, deadline=9.0, after=2, longest=30, llm_token=0.01, **STEPS
    )
    state, now, context = ours.initial_state(), 0.0, PROMPT
    plain = array("f", state)
    other = steered(0.5, max_llm_tokens=3).initial_state()
    batch = torch.tensor([state, other], dtype=torch.float32)
    for side, entropy, seconds in proposals:
        now = float(np.float32(now + seconds))
        seen = SimpleNamespace(
            side=side, entropy=entropy, elapsed=now, context=context, state=plain
        )
        next_side, keep = ours.decide_row(seen)  # type: ignore[arg-type]
        plain = seen.state
        both = signals(side, [entropy] * 2, elapsed=now, context=context)
        decision = ours.decide(both, batch)
        batch = decision.state
        assert (next_side, keep) == (int(decision.next_side[0]), bool(decision.keep[0]))
        assert plain.tolist() == batch[0].tolist()
        context += keep


def requests(policy: Steered, count: int = 6) -> list[Request]:
    return [ask(policy, sampling=Sampling(seed=i), max_tokens=12) for i in range(count)]


def engine(**settings: Any) -> InProcessEngine:
    slm = says(*[unsure(3 + n % 5) if n % 3 else unsure(9) for n in range(12)])
    return scripted(slm, says(*[unsure(4 + n % 5) for n in range(12)]), **settings)


def test_a_share_is_kept_alike_one_at_a_time_and_many_at_once() -> None:
    policy = steered(max_llm_share=0.3, shortest=6, longest=12)
    together = run(engine(), requests(policy))
    alone = [run(engine(), [one])[0] for one in requests(policy)]
    assert [a.steps for a in together] == [a.steps for a in alone]
    assert {a.finished.usage.llm_tokens for a in alone} == {4}


class Ticks:
    """A clock that says so many seconds more at each look."""

    def __init__(self, seconds: float) -> None:
        self.now, self.seconds = 0.0, seconds

    def __call__(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.mark.parametrize(("tick", "llm_tokens"), [(0.001, 12), (10.0, 0)])
def test_a_deadline_goes_by_the_engine_s_clock(tick: float, llm_tokens: int) -> None:
    one = engine()
    one.loop.clock = Ticks(tick)
    policy = steered(deadline=10.0, longest=12, **STEPS)
    (answer,) = run(one, requests(policy, 1))
    assert answer.finished.usage.llm_tokens == llm_tokens
    assert answer.finished.reason == "length", "it goes on"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_both_gates_record_what_it_read(temperature: float) -> None:
    """Greedy the plain gate asks `decide_row`, else the thorough one `decide`."""
    policy = steered(deadline=10.0, longest=12, **STEPS)
    one = engine()
    one.loop.clock = Ticks(0.25)
    (answer,) = run(one, [replace(requests(policy, 1)[0], sampling=Sampling(temperature, seed=1))])
    elapsed = [p.signals["elapsed"] for p in answer.proposals]
    assert all(a < b for a, b in zip(elapsed, elapsed[1:], strict=False))
    assert all(math.isclose(4 * e, round(4 * e)) for e in elapsed)


# -- the trace ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1.0, math.inf])
def test_explain_finds_seconds_that_cannot_be(value: float) -> None:
    trace = copied("steered")
    trace.proposals[3].signals["elapsed"] = value
    assert found_at(trace) == 3


def test_explain_finds_time_that_ran_back() -> None:
    trace = copied("steered")
    trace.proposals[3].signals["elapsed"] = trace.proposals[2].signals["elapsed"] / 2
    difference = explain.check(trace)
    assert difference is not None and difference.index == 3
    assert "ran back" in difference.what


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tau": "x"}, "tau is 'x'"),
        ({"max_llm_share": 1.1}, "max_llm_share is 1.1; it must be a number from 0 to 1"),
        ({"max_llm_share": -0.1}, "max_llm_share is -0.1"),
        ({"max_llm_share": "0.1"}, "max_llm_share is '0.1'"),
        ({"max_llm_share": math.nan}, "max_llm_share is nan"),
        ({"max_llm_tokens": 2.5}, "max_llm_tokens is 2.5; it must be a whole number"),
        ({"max_llm_tokens": -1}, "max_llm_tokens is -1"),
        ({"deadline": -1}, "deadline is -1; it must be a number from 0 on"),
        ({"deadline": True}, "deadline is True"),
        ({"deadline": math.inf}, "deadline is inf; it must be a number from 0 on"),
        ({"gain": None}, "gain is None"),
        ({"deadline": 1.0}, "slm_step is 0; a deadline needs the seconds of a step"),
        ({"deadline": 1.0, "slm_step": 0.1}, "llm_step is 0"),
        ({"gain": 2}, "gain is 2; it must be a number from 0 to 1"),
        ({"shortest": -1}, "shortest is -1"),
        ({"after": 0.5}, "after is 0.5"),
        ({"longest": 0}, "longest is 0"),
    ],
)
def test_bad_values_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=f"^{message}"):
        make("steered", **{"tau": 0.1, **parameters})
