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


def test_time_is_shared_by_all_that_waits() -> None:
    async def main(clock: Clock) -> None:
        patience = Patience(10)
        async with patience.limit():
            await asyncio.sleep(6)
        with pytest.raises(Problem) as error:
            async with patience.limit():
                await asyncio.sleep(3)
                await asyncio.sleep(3)
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

        with pytest.raises(Gone):
            async with patience.watching(receive):
                await work()
        assert cancelled == [3] and clock() == 3
        with pytest.raises(Gone):
            async with patience.limit():
                await asyncio.sleep(1)

    virtual.run(main)


def test_a_timeout_within_is_not_taken_for_its_own() -> None:
    async def main(clock: Clock) -> None:
        with pytest.raises(TimeoutError, match="mine"):
            async with Patience(5).limit():
                raise TimeoutError("mine")

    virtual.run(main)
