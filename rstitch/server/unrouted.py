"""What is told of a route that is not there, or not by this method: the nearest that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request

from rstitch.server.errors import Problem

SHOWN = 60
"""Characters of a path that are repeated."""
ALIKE = 0.8
"""From which likeness on another path is proposed (difflib's ratio)."""


def unrouted(request: Request, error: HTTPException, paths: Iterable[str]) -> Problem:
    """paths: those that there are."""
    headers = dict(error.headers or {})
    path = request.url.path[:SHOWN]
    if error.status_code == 405:
        allowed = headers.get("allow") or headers.get("Allow", "another method")
        told = f"{path!r} takes no {request.method[:SHOWN]}; use {allowed}"
    else:
        close = difflib.get_close_matches(path, paths, n=1, cutoff=ALIKE)
        hint = f"did you mean {close[0]}?" if close else "/openapi.json lists the routes"
        told = f"there is no route {path!r}; {hint}"
    return Problem(error.status_code, told, headers=headers)
