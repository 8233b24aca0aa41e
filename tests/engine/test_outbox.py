"""Every event reaches one reader, whoever else reads or has read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from rstitch.engine.outbox import Outbox
from rstitch.types import Event, Failed


def event(name: str) -> Event:
    return Failed(name, RuntimeError(name), ())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


async def read(outbox: Outbox, found: list[str], most: int = 100) -> None:
    stream = outbox.stream()
    async for one in stream:
        found.append(one.request)
        if len(found) == most:
            break
    await stream.aclose()  # type: ignore[attr-defined]


def test_take_has_what_there_is_or_waits_for_the_first() -> None:
    outbox = Outbox()
    assert outbox.take(0.0) == []
    outbox.put([event("a"), event("b")])
    assert [one.request for one in outbox.take(0.0)] == ["a", "b"]
    threading.Timer(0.01, outbox.put, [[event("c")]]).start()
    assert [one.request for one in outbox.take(30.0)] == ["c"]


def test_who_leaves_loses_nothing_for_the_next() -> None:
    async def work() -> None:
        outbox, first, second = Outbox(), list[str](), list[str]()
        outbox.put([event("a"), event("b"), event("c")])
        await read(outbox, first, most=1)
        outbox.close()
        await read(outbox, second)
        assert (first, second) == (["a"], ["b", "c"])

    run(work())


def test_a_reader_goes_on_when_another_that_came_later_leaves() -> None:
    async def work() -> None:
        outbox, found, other = Outbox(), list[str](), list[str]()
        reader = asyncio.create_task(read(outbox, found))
        await asyncio.sleep(0)
        leaver = asyncio.create_task(read(outbox, other))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        outbox.put([event("a")])
        outbox.close()
        await reader
        assert (found, other) == (["a"], [])

    run(work())


def test_two_readers_share_and_both_end() -> None:
    async def work() -> None:
        outbox, found = Outbox(), [list[str](), list[str]()]
        readers = [asyncio.create_task(read(outbox, one)) for one in found]
        await asyncio.sleep(0)
        for name in "abcdef":
            outbox.put([event(name)])
            await asyncio.sleep(0)
        outbox.close()
        await asyncio.gather(*readers)
        assert sorted(found[0] + found[1]) == list("abcdef")

    run(work())


def test_a_reader_whose_loop_is_gone_is_no_trouble() -> None:
    outbox, loop = Outbox(), asyncio.new_event_loop()
    stream = outbox.stream()
    outbox.put([event("a")])

    async def first() -> str:
        return (await anext(stream)).request

    assert loop.run_until_complete(first()) == "a"
    loop.close()  # the stream is never closed
    outbox.put([event("b")])
    assert [one.request for one in outbox.take(0.0)] == ["b"]
