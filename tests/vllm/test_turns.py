"""LLM turns wait for each other, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rstitch.config import EngineConfig
from rstitch.engine.scheduler import Scheduler
from rstitch.engine.sequence import Sequence
from rstitch.types import Side
from rstitch.vllm.turns import VISIBLE, Turns, apart
from tests.vllm.fakes import row

STEP = 3600.0
"""Seconds of a step of the LLM: no timer fires while a test runs."""


class Table:
    """A scheduler whose clock stands still, with rows in flight on given sides."""

    def __init__(self, apart: bool = False, **settings: Any) -> None:
        self.now = 0.0
        config = EngineConfig(engine="vllm", **settings)
        self.scheduler = Scheduler(config, lambda: self.now)
        self.scheduler.costs.observe(Side.LLM, 1, STEP)
        self.turns = Turns(self.scheduler, apart)
        self.released: list[str] = []

    def add(self, name: str, side: Side, since: float = 0.0) -> Sequence:
        one = row(name)
        self.scheduler.add(one)
        self.scheduler.admit()
        one.side, one.ready_since = side, since
        return one

    async def ask(self, one: Sequence) -> asyncio.Task[None]:
        task = asyncio.create_task(self._wait(one))
        await settled()
        return task

    async def _wait(self, one: Sequence) -> None:
        await self.turns.wait(one)
        self.released.append(one.id)


async def settled() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


def test_one_waits_for_the_other_and_they_go_together() -> None:
    async def work() -> None:
        table = Table(waiting="fixed:2")
        first, second = table.add("a", Side.LLM), table.add("b", Side.SLM)
        await table.ask(first)
        assert table.released == []
        second.side = Side.LLM
        await table.ask(second)
        assert sorted(table.released) == ["a", "b"]

    run(work)


def test_alone_it_does_not_wait() -> None:
    async def work() -> None:
        table = Table(waiting="fixed:2")
        await table.ask(table.add("a", Side.LLM))
        assert table.released == ["a"]

    run(work)


def test_an_slm_row_that_writes_nothing_holds_nobody_back() -> None:
    """A long prefill: it has been ready for longer than the turn that waits."""

    async def work() -> None:
        table = Table(waiting="fixed:2")
        table.add("reads", Side.SLM, since=-1.0)
        await table.ask(table.add("a", Side.LLM))
        assert table.released == []
        table.now = table.scheduler.max_wait * STEP + 1.0
        table.turns.look()
        await settled()
        assert table.released == ["a"]

    run(work)


def test_a_timer_looks_again_by_itself() -> None:
    async def work() -> None:
        table = Table(waiting="fixed:2")
        table.scheduler.costs.__init__()  # type: ignore[misc]
        table.scheduler.costs.observe(Side.LLM, 1, 1e-4)
        table.add("reads", Side.SLM, since=-1.0)
        waiting = await table.ask(table.add("a", Side.LLM))
        assert table.released == []
        table.now = 1.0
        await waiting
        assert table.released == ["a"]

    run(work)


def test_without_a_timed_step_nobody_waits() -> None:
    async def work() -> None:
        table = Table(waiting="fixed:2")
        table.scheduler.costs.__init__()  # type: ignore[misc]
        table.add("reads", Side.SLM, since=-1.0)
        await table.ask(table.add("a", Side.LLM))
        assert table.released == ["a"]

    run(work)


def test_those_let_go_are_no_longer_waited_for() -> None:
    """The next to come has a wait of its own, though they have not run yet."""

    async def work() -> None:
        table = Table(waiting="fixed:2")
        old, new = table.add("old", Side.LLM), table.add("new", Side.SLM)
        waits = asyncio.create_task(table.turns.wait(old))
        await settled()
        table.now = table.scheduler.max_wait * STEP + 1.0
        table.turns.release()
        old.side, new.side, new.ready_since = Side.SLM, Side.LLM, table.now
        held = asyncio.create_task(table.turns.wait(new))
        await settled()
        assert waits.done()
        assert not held.done()
        held.cancel()

    run(work)


def test_release_lets_all_go_and_a_cancelled_one_leaves_nothing() -> None:
    async def work() -> None:
        table = Table(waiting="fixed:3")
        table.add("writes", Side.SLM)
        gone = await table.ask(table.add("a", Side.LLM))
        await table.ask(table.add("b", Side.LLM))
        gone.cancel()
        await settled()
        assert table.released == []
        table.turns.release()
        await settled()
        assert table.released == ["b"]
        assert not table.turns._waiting

    run(work)


@pytest.mark.parametrize(
    ("apart", "waiting", "held"),
    [(True, "table", False), (True, "fixed:2", True), (False, "table", True)],
)
def test_with_cores_of_its_own_the_llm_is_kept_waiting_only_if_told_to(
    apart: bool, waiting: str, held: bool
) -> None:
    async def work() -> None:
        table = Table(apart, waiting=waiting)
        table.scheduler.costs.observe(Side.SLM, 1, STEP / 100)  # so that the table says: both
        table.add("writes", Side.SLM)
        waits = await table.ask(table.add("a", Side.LLM))
        assert table.released == ([] if held else ["a"])
        waits.cancel()

    run(work)


@pytest.mark.parametrize(
    ("device", "slm", "llm", "found"),
    [
        ("cpu", None, None, True),
        ("cuda", None, None, False),
        ("cuda", "0", None, False),
        ("cuda", "0", "1,2", True),
        ("cuda", "0,1", "1, 2", False),
    ],
)
def test_sides_are_apart_on_a_cpu_and_on_gpus_of_their_own(
    device: str, slm: str | None, llm: str | None, found: bool
) -> None:
    own: list[dict[str, str]] = [{VISIBLE: one} if one else {} for one in (slm, llm)]
    assert apart(device, own) is found
