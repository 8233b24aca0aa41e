"""The HTTP face: routes, and how what goes wrong becomes a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from rstitch import __version__
from rstitch.errors import BadRequest, RStitchError
from rstitch.server import info
from rstitch.server.answering import answer
from rstitch.server.body import parse
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.errors import Problem, bad
from rstitch.server.served import Served


def create(served: Served) -> FastAPI:
    """The application. Its lifespan runs the loop, and closes the engine at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        reader = asyncio.create_task(served.loop.run())
        try:
            yield
        finally:
            served.stitch.close()
            await reader

    app = FastAPI(title="rstitch", version=__version__, lifespan=lifespan)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RStitchError, _bad)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        body = parse(Chat, await request.body())
        return await answer(request, served, served.asking.read(body))

    @app.post("/v1/completions")
    async def text_completions(request: Request) -> Response:
        body = parse(Completion, await request.body())
        return await answer(request, served, served.asking.read(body))

    app.include_router(info.router(served))
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse(error.body(), error.status, error.all_headers())


async def _bad(request: Request, error: Exception) -> Response:
    status = 400 if isinstance(error, BadRequest) else 500
    return await _problem(request, bad(str(error)) if status == 400 else Problem(500, str(error)))
