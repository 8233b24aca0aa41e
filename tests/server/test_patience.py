"""How long a request waits, by a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rstitch.server.errors import Problem
from rstitch.server.patience import Gone, Patience
from tests.server import virtual

Clock = Callable[[], float]


async def after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


def test_time_is_shared_by_all_that_is_waited_for() -> None:
    async def main(clock: Clock) -> None:
        patience = Patience(10)
        assert await patience.wait(after(6)) == "done"
        with pytest.raises(Problem) as error:
            await patience.wait(after(6))
        assert (error.value.status, clock()) == (408, 10)

    virtual.run(main)


def test_who_leaves_is_noticed_at_once_and_for_good() -> None:
    async def main(clock: Clock) -> None:
        patience, cancelled = Patience(100), []

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(3)
            return {"type": "http.disconnect"}

        async def work() -> None:
            try:
                await asyncio.sleep(50)
            except asyncio.CancelledError:
                cancelled.append(clock())
                raise

        async with patience.watching(receive):
            with pytest.raises(Gone):
                await patience.wait(work())
        assert cancelled == [3] and clock() == 3
        with pytest.raises(Gone):
            await patience.wait(after(1))

    virtual.run(main)


def test_a_timeout_within_is_not_taken_for_its_own() -> None:
    async def main(clock: Clock) -> None:
        async def inner() -> None:
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine"):
            await Patience(5).wait(inner())

    virtual.run(main)
