"""Server-sent events: a response that is a stream of `data:` lines."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rstitch.errors import RStitchError
from rstitch.server.errors import Problem, problem_of
from rstitch.server.limits import before
from rstitch.server.loop import Gone

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"


def event(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


class EventStream(Response):
    """Its first piece is there already, so that what fails at once still has a status."""

    media_type = "text/event-stream"

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        deadline: float,
    ) -> None:
        """deadline: second of the event loop's clock at which a reader has been too slow."""
        super().__init__(headers={**HEADERS, **headers})
        del self.headers["content-length"]
        self._first, self._rest, self._deadline = first, rest, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send(send, self._first)
            async for piece in self._rest:
                await self._send(send, piece)
        except Gone:
            return
        except (Problem, RStitchError) as error:  # too late for a status
            await self._send(send, event(problem_of(error).body()))
        finally:
            await self._rest.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, piece: bytes) -> None:
        message = {"type": "http.response.body", "body": piece, "more_body": True}
        await before(self._deadline, send(message))
