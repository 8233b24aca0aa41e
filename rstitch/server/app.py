"""The HTTP face: routes, and how what goes wrong becomes a response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from rstitch import __version__
from rstitch.errors import RStitchError
from rstitch.server import info, writing
from rstitch.server.errors import Problem, problem_of
from rstitch.server.playground import routes
from rstitch.server.served import Served
from rstitch.server.warm import warm


def create(served: Served) -> FastAPI:
    """The application. Its lifespan runs the loop, and closes the engine at the end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(one) for one in (served.loop.run(), warm(served))]
        watch = asyncio.create_task(served.health.run())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.to_thread(served.loop.engine.close)
            await asyncio.gather(*tasks)

    app = FastAPI(title="rstitch", version=__version__, lifespan=lifespan)
    for kind in (Problem, RStitchError):
        app.add_exception_handler(kind, _problem)
    app.include_router(writing.router(served))
    app.include_router(info.router(served))
    if served.has_playground:
        app.include_router(routes.router(served))
    return app


async def _problem(request: Request, error: Exception) -> Response:
    found = problem_of(error)
    return JSONResponse(found.body(), found.status, found.all_headers())
