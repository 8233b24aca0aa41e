"""Server-sent events: a response that is a stream of `data:` lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from rstitch.server.errors import Problem
from rstitch.server.patience import Gone, Patience

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"
End = Callable[[Exception | None], Problem | None]


def event(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


class EventStream(Response):
    """Its first piece is there already, so that what fails at once still has a status."""

    media_type = "text/event-stream"

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        patience: Patience,
        end: End,
    ) -> None:
        """end: called once, with what it failed for; what it returns is the last event, since it
        is too late for a status."""
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._first, self._rest, self._patience, self._end = first, rest, patience, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: Exception | None = None
        try:
            async with self._patience.watching(receive):
                await self._all(send)
        except asyncio.CancelledError:
            error = Gone()
            raise
        except Exception as found:
            error = found
        finally:
            await self._rest.aclose()
            problem = self._end(error)
        if isinstance(error, Gone):
            return
        last = event(problem.body()) if problem else DONE
        with suppress(Problem, Gone):  # a reader that is too slow for the rest is so for this
            async with self._patience.limit():
                await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _all(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        await send(_body(self._first))
        async for piece in self._rest:
            await send(_body(piece))


def _body(piece: bytes) -> Message:
    return {"type": "http.response.body", "body": piece, "more_body": True}
