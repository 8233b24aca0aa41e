"""Cancelling and the stream of events, from this thread and others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.pump import Pump
from rstitch.types import Finished, Token
from tests.engine.asking import SLM, ask, mixed
from tests.fakes import EOS, says, scripted, sure
from tests.models import (
    Answer,
    assert_clean,
    collect,
    drain,
    engine,
    run,
)
from tests.same import assert_same_answers

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


def slow(two: InProcessEngine, seconds: float) -> InProcessEngine:
    """Every step takes so much longer, and makes a burst of its own."""
    step = two.loop.step

    def slowly() -> None:
        time.sleep(seconds)
        step()

    two.loop.step = slowly  # type: ignore[method-assign]
    two.burst = 0.0
    return two


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
    two = slow(scripted(says(), says()), 0.002)

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


def test_a_step_that_raises_ends_events_with_what_it_raised() -> None:
    two = scripted(says(), says())

    def broken() -> None:
        raise ZeroDivisionError("of a step")

    two.loop.step = broken  # type: ignore[method-assign]
    two.submit(ask())
    with pytest.raises(ZeroDivisionError, match="of a step"):
        within(gather(two))


def test_steps_go_on_while_nobody_takes_what_they_brought() -> None:
    two = scripted(says(*[sure(9)] * 10, sure(EOS)), says())

    async def main() -> list[Any]:
        two.submit(ask())
        async with aclosing(two.events()) as stream:
            first = await anext(stream)
            while not two.idle:
                await asyncio.sleep(0.002)
            two.close()
            return [first, *[event async for event in stream]]

    events = within(main())
    assert len(events) == 12 and isinstance(events[-1], Finished)


def test_a_close_between_a_step_and_the_wait_after_it_is_heard() -> None:
    """It wakes a thread that is about to forget its news, and to wait."""
    told, closed = list[bool](), [False]

    def tell() -> None:
        told.append(closed[0])
        if not closed[0]:
            closed[0] = True
            pump.wake()

    pump = Pump(lambda: None, lambda: bool(told), tell)
    pump.start()
    for _ in range(2000):
        if any(told):
            break
        time.sleep(0.001)
    pump.stop()
    assert told[:2] == [False, True]


def test_the_thread_of_the_steps_ends_with_its_reader() -> None:
    before = set(threading.enumerate())
    two = scripted(says(sure(9), sure(EOS)), says())

    async def main() -> None:
        two.submit(ask())
        async with aclosing(two.events()) as stream:
            await anext(stream)

    within(main())
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


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


def test_steps_do_not_wait_for_what_else_the_event_loop_has_threads_do() -> None:
    """As large bodies that a server reads."""
    two, free = scripted(says(sure(9), sure(EOS)), says()), threading.Event()
    before = threading.enumerate()

    async def main() -> Any:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        other = asyncio.create_task(asyncio.to_thread(free.wait, 10))
        await asyncio.sleep(0)
        two.submit(ask())
        async with aclosing(two.events()) as stream:
            reasons = [event.reason async for event in stream if ends(event, two)]
        assert not other.done()
        free.set()
        await other
        return reasons

    def ends(event: Any, two: InProcessEngine) -> bool:
        if isinstance(event, Finished):
            two.close()
            return True
        return False

    assert within(main()) == ["stop"]
    for thread in set(threading.enumerate()).difference(before):
        thread.join(10)
        assert not thread.is_alive()


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
    two = slow(scripted(says(*[sure(9)] * 10, sure(EOS)), says()), 0.01)
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
    two = slow(scripted(says(*[sure(9)] * 50), says()), 0.002)
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
