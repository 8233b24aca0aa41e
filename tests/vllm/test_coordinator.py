"""Answers begin and end whatever happens; no vLLM is needed for that."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from rstitch.errors import BadPolicy, SideLost
from rstitch.policy import make
from rstitch.types import Event, Failed, Finished, Side, Token
from rstitch.vllm import writer
from rstitch.vllm.coordinator import Coordinator
from rstitch.vllm.report import Layout, Report
from tests.vllm.fakes import PROMPT, Answers, Desk, Heard, coordinator, report, row


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    found = Desk(back_and_forth)
    monkeypatch.setattr(writer, "Session", found)
    return found


async def back_and_forth(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
    """One token, then it is the other's turn."""
    yield [report(layout, heard.side.other)]


async def never(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
    await asyncio.Event().wait()
    yield []


def ticking() -> Any:
    ticks = itertools.count()
    return lambda: float(next(ticks))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


async def ends(home: Coordinator, count: int) -> list[Event]:
    """Everything until so many answers have ended, after which nothing is left of them."""
    events: list[Event] = []
    async for event in home.outbox.stream():
        events.append(event)
        if sum(not isinstance(event, Token) for event in events) == count:
            break
    assert not home.scheduler.active
    assert not home.scheduler.queue
    assert not home._tasks
    assert not home._why
    return [event for event in events if not isinstance(event, Token)]


def test_cancelled_before_its_first_step_and_the_next_goes_on(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(ticking(), max_rows=1)
        home.add([row("a"), row("b")])
        home.cancel("a")  # its task was made, and has not begun
        first, second = await ends(home, 2)
        assert isinstance(first, Finished)
        assert isinstance(second, Finished)
        assert (first.request, first.reason) == ("a", "cancelled")
        assert (second.request, second.reason) == ("b", "length")
        await home.close()

    run(work())


def test_close_ends_what_has_not_begun(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(ticking(), max_rows=1)
        home.add([row("a"), row("b")])
        await home.close()
        assert {end.reason for end in await ends(home, 2)} == {"cancelled"}  # type: ignore[union-attr]

    run(work())


def test_cancelled_twice_both_sessions_are_closed(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(ticking())
        desk.answers, desk.closing = once_each(), asyncio.Event()
        home.add([row("a")])
        while len(desk.heard) < 3:
            await asyncio.sleep(0)
        home.cancel("a")
        await asyncio.sleep(0)
        home.cancel("a")  # while it waits for the first to close
        await asyncio.sleep(0)
        desk.closing.set()
        await ends(home, 1)
        assert sorted(desk.closed) == sorted(desk.opened) == ["a-llm", "a-slm"]

    run(work())


def once_each() -> Answers:
    """A token of each side, then nothing."""
    turns = itertools.count()

    async def answer(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
        if next(turns) < 2:
            yield [report(layout, heard.side.other)]
        else:
            await asyncio.Event().wait()

    return answer


@pytest.mark.parametrize("both", [False, True])
def test_the_llm_is_lost_and_then_the_slm(desk: Desk, both: bool) -> None:
    home = coordinator(ticking())

    async def dying(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
        if heard.asked.policy["name"] == "entropy" and heard.side is Side.SLM:
            yield [report(layout, Side.LLM)]
        elif heard.side is Side.LLM or both:
            home.sides[heard.side].llm = None
            home.sides[heard.side].dead = True  # type: ignore[misc]
            raise RuntimeError("gone")
        else:
            yield [report(layout, Side.SLM)] * heard.most

    async def work() -> None:
        desk.answers = dying
        home.add([row(may_degrade=True)])
        (end,) = await ends(home, 1)
        assert set(home.faults.lost) == (set(Side) if both else {Side.LLM})
        if both:
            assert isinstance(end, Failed)
            assert isinstance(end.error, SideLost)
            assert "the SLM is lost" in str(end.error)
        else:
            assert isinstance(end, Finished)
            assert (end.usage.tokens, end.usage.degraded) == (4, True)
        assert sorted(desk.closed) == sorted(desk.opened)

    run(work())


def test_what_vllm_lets_be_no_longer_ends_with_length(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(ticking())
        desk.answers, desk.full = two, True
        home.add([row(max_tokens=50)])
        (end,) = await ends(home, 1)
        assert isinstance(end, Finished)
        assert (end.reason, end.usage.tokens) == ("length", 2)

    run(work())


async def two(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
    yield [report(layout, heard.side)] * 2


def test_a_side_begins_anew_where_the_memory_was_lost(desk: Desk) -> None:
    forgets = iter([False, True, False, False])

    async def answer(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
        for forgot in forgets:
            yield [report(layout, heard.side, forgot=forgot)]

    async def work() -> None:
        home = coordinator(ticking())
        desk.answers = answer
        home.add([row(policy=make("window", tau=0.5, window=3), max_tokens=3)])
        (end,) = await ends(home, 1)
        assert isinstance(end, Finished)
        assert end.usage.tokens == 3
        first, second = desk.heard
        assert first.tokens == list(PROMPT)
        assert second.tokens == [*PROMPT, 7]
        assert second.asked.start == 1
        assert set(second.asked.memory) == {5.0} != set(first.asked.memory)

    run(work())


def test_a_rule_that_returns_after_each_token_teaches_the_cost_of_the_llm(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(ticking())
        home.add([row(max_tokens=6)])
        await ends(home, 1)
        assert min(len(heard.tokens) for heard in desk.heard if heard.side is Side.LLM) == 2
        assert home.scheduler.costs.seconds(Side.LLM, 1) > 0

    run(work())


def test_time_in_the_queue_counts(desk: Desk) -> None:
    async def work() -> None:
        home = coordinator(lambda: 1000.0)
        home.add([row(accepted=400.0)])
        await ends(home, 1)
        (at,) = {heard.asked.accepted for heard in desk.heard}
        assert 600 <= time.time() - at < 660

    run(work())


def test_a_score_that_no_worker_could_make_ends_its_answer_alone(desk: Desk) -> None:
    async def unscored(heard: Heard, layout: Layout) -> AsyncIterator[list[Report]]:
        yield [report(layout, heard.side.other, signals=float("inf"))]

    desk.answers = unscored

    async def work() -> None:
        home = coordinator(ticking())
        home.add([row("a", policy=make("router")), row("b")])
        for end in await ends(home, 2):
            if end.request == "b":
                assert isinstance(end, Finished)
            else:
                assert isinstance(end, Failed)
                assert isinstance(end.error, BadPolicy)
                assert "worker of the SLM could not score" in str(end.error)
        assert sorted(desk.closed) == sorted(desk.opened)

    run(work())
