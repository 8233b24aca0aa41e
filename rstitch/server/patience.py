"""How long one request may wait for anything: until its time is up, or its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect

from rstitch.server.errors import Problem

T = TypeVar("T")
NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients would ask again: the same request would take as long once more."""


class Gone(Exception):
    """The client has left; nobody wants the rest."""


class Patience:
    """One request's. It waits for one thing at a time."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds
        self._left = False
        self._waiting: asyncio.Timeout | None = None

    async def wait(self, work: Awaitable[T]) -> T:
        """Its result. Raises Problem (408) when the time is up, and Gone."""
        timeout = self._waiting = asyncio.timeout_at(0 if self._left else self._until)
        try:
            async with timeout:
                return await work
        except TimeoutError:
            if not timeout.expired():
                raise
            if self._left:
                raise Gone from None
            told = "the request took longer than this server allows; ask for fewer tokens"
            raise Problem(408, told, code="timeout", headers=NO_RETRY) from None
        finally:
            self._waiting = None

    def leave(self) -> None:
        """Nobody reads on."""
        self._left = True
        if self._waiting is not None:
            self._waiting.reschedule(0)

    @asynccontextmanager
    async def watching(self, receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
        """Notice within that the client leaves; its body has been read."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self, receive: Callable[[], Awaitable[Any]]) -> None:
        with suppress(ClientDisconnect):
            while (await receive())["type"] != "http.disconnect":
                pass
        self.leave()
