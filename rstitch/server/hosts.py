"""By which names the server may be asked: a page in a browser could otherwise ask a server that
listens on this machine alone, under a name of its own that it has pointed here (DNS rebinding)."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from rstitch.server.errors import Problem

LOCAL = ("localhost", "127.0.0.1", "::1")


def allowed(host: str, named: tuple[str, ...]) -> frozenset[str] | None:
    """Names for a server that listens at `host`, where the operator named these; None is any.

    Where it listens for other machines too, what they call it is for the operator to say.
    """
    if "*" in named or (not named and not _local(host)):
        return None
    return frozenset(name.lower() for name in (*named, *LOCAL, host))


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def name_of(header: str) -> str:
    """`localhost:8000` and `[::1]:8000` without their ports."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


class Hosts:
    """Refuses requests whose Host is none of `names`."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host")
        if host is None or name_of(host) in self.names:  # browsers leave it out of no request
            await self.app(scope, receive, send)
            return
        told = f"this server is not called {host[:100]!r}; start it with --hosts and that name"
        problem = Problem(421, told, code="unknown_host")
        await JSONResponse(problem.body(), problem.status)(scope, receive, send)
