"""The HTTP face: routes, and how what goes wrong becomes a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from rstitch import __version__
from rstitch.errors import RStitchError
from rstitch.server import info, logs, openapi, writing
from rstitch.server.errors import Problem, problem_of
from rstitch.server.guard import Guard
from rstitch.server.head import Head
from rstitch.server.hosts import Hosts, allowed
from rstitch.server.playground import routes
from rstitch.server.refusal import Refused
from rstitch.server.served import Served
from rstitch.server.unrouted import unrouted
from rstitch.server.warm import warm

TOLD = ["x-request-id", "x-rstitch-ignored", "x-rstitch-degraded", "retry-after"]
"""Headers that a page of an allowed origin may read."""


def create(served: Served) -> FastAPI:
    """The application. Its lifespan runs the loop, and closes the engine at the end."""
    app = FastAPI(
        title="rstitch", version=__version__, lifespan=_lifespan(served), docs_url=None,
        redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    for kind in (Problem, RStitchError, HTTPException):
        app.add_exception_handler(kind, _problem(served))
    app.include_router(writing.router(served))
    app.include_router(info.router(served))
    if served.has_playground:
        app.include_router(routes.router(served))
    openapi.install(app)
    app.add_middleware(Head)
    if served.config.listen.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=served.config.listen.cors,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=TOLD,
        )
    names = allowed(served.config.listen.host, served.config.listen.hosts)
    if names is not None:
        app.add_middleware(Hosts, names=names)
    app.add_middleware(Guard)
    return app


def _lifespan(served: Served) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        reader = asyncio.create_task(served.loop.run())
        reader.add_done_callback(lambda task: _failed(served, task))
        shadows = served.shadow.run(busy=lambda: bool(served.door.inside))
        others = [asyncio.create_task(one) for one in (warm(served), served.health.run(), shadows)]
        for task in others:
            task.add_done_callback(_told)
        try:
            yield
        finally:
            for task in others:
                task.cancel()
            await asyncio.to_thread(served.loop.engine.close)
            await asyncio.gather(reader, *others, return_exceptions=True)

    return lifespan


def _told(task: asyncio.Task[None]) -> None:
    """Nobody waits for these, so a failure is told at once."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logs.problem(error)


def _failed(served: Served, reader: asyncio.Task[None]) -> None:
    """The loop itself has failed: nothing can be written any more."""
    error = None if reader.cancelled() else reader.exception()
    if error is not None:
        logs.problem(error)
        own = isinstance(error, RStitchError)  # as where its process has ended
        served.end_lost(str(error) if own else f"the engine failed: {type(error).__name__}")


def _problem(served: Served) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def respond(request: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            served.metrics.refused(error.reason)
        if isinstance(error, HTTPException):
            error = unrouted(request, error, request.app.openapi()["paths"])
        found = problem_of(error)
        return JSONResponse(found.body(), found.status, found.all_headers())

    return respond
