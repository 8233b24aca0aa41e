"""The outermost layer: whatever nobody foresaw ends here, and no log repeats its message."""

from __future__ import annotations

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rstitch.server import logs
from rstitch.server.errors import problem_of


class Guard:
    """A 500 by the exception's type alone, since its message may quote what a client sent."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:
            if scope["type"] != "http":
                raise
            logs.problem(error)
            if not begun:
                problem = problem_of(error)
                await JSONResponse(problem.body(), problem.status)(scope, receive, send)
