"""Server-sent events: a response that is a stream of `data:` lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rstitch.server.errors import Problem
from rstitch.server.loop import Gone

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def event(content: Any) -> bytes:
    return (
        b"data: "
        + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        + b"\n\n"
    )


class EventStream(Response):
    """Its first piece is there already, so that what fails at once still has a status."""

    media_type = "text/event-stream"

    def __init__(
        self, first: bytes, rest: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._first, self._rest = first, rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            await _piece(send, self._first)
            async for piece in self._rest:
                await _piece(send, piece)
        except Problem as problem:  # too late for a status
            await _piece(send, event(problem.body()))
        except Gone:
            return
        finally:
            await self._rest.aclose()  # type: ignore[attr-defined]  # a generator
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
