"""How long one request may take: until its time is up, or its client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.requests import ClientDisconnect

from rstitch.server.errors import Problem

NO_RETRY = {"x-should-retry": "false"}
"""OpenAI's clients would ask again: the same request would take as long once more."""


class Gone(Exception):
    """The client has left; nobody wants the rest."""


class Patience:
    """One request's."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._left = False
        self._limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """One at a time. Raises within Problem (408) when the time is up, and Gone."""
        limit = self._limit = asyncio.timeout_at(0 if self._left else self._until)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            if self._left:
                raise Gone from None
            told = f"the request took longer than {self.seconds:g} seconds, which is what it may "
            told += "take here; ask for fewer tokens"
            raise Problem(408, told, code="timeout", headers=NO_RETRY) from None
        finally:
            self._limit = None

    @asynccontextmanager
    async def watching(self, receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[None]:
        """`limit`, and notice within that the client leaves; its body has been read."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            async with self.limit():
                yield
        finally:
            watch.cancel()

    def leave(self) -> None:
        """Nobody reads on."""
        self._left = True
        if self._limit is not None:
            self._limit.reschedule(0)

    async def _watch(self, receive: Callable[[], Awaitable[Any]]) -> None:
        with suppress(ClientDisconnect):
            while (await receive())["type"] != "http.disconnect":
                pass
        self.leave()
