"""The two routes that have something written."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from rstitch.server.answering import answer
from rstitch.server.body import parse
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.limits import before, read
from rstitch.server.loop import Gone
from rstitch.server.served import Served

CLIENT_GONE = 499
"""What the log says where nobody was there to read a status."""


def router(served: Served) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/chat/completions", summary="Go on with a chat")
    async def chat_completions(request: Request) -> Response:
        return await _write(served, request, Chat)

    @routes.post("/v1/completions", summary="Go on with a text")
    async def text_completions(request: Request) -> Response:
        return await _write(served, request, Completion)

    return routes


async def _write(served: Served, http: Request, kind: type[Chat] | type[Completion]) -> Response:
    limits = served.config.limits
    deadline = asyncio.get_running_loop().time() + limits.request_seconds
    try:
        key = served.entry.who(http.headers)
        body = parse(kind, await before(deadline, read(http, limits.max_body_bytes)))
        return await answer(served, http, key, served.asking.read(body), deadline)
    except (Gone, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)
