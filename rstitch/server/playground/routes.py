"""Routes of the page: itself, its files, traces to download, and single tokens as text."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from rstitch.server.errors import Problem, bad
from rstitch.server.openapi import wrong
from rstitch.server.playground.page import HEADERS, assets, page
from rstitch.server.playground.traces import written
from rstitch.server.served import Served
from rstitch.types import Side

TRACE = "application/x-ndjson"
FOUND: dict[str, Any] = {"description": "A file for `rstitch explain`", "content": {TRACE: {}}}
MOST_WORDS = 4096
"""Of one request."""


def router(served: Served) -> APIRouter:
    routes = APIRouter()
    html, files = page(served), assets()

    @routes.get("/", include_in_schema=False)
    async def playground() -> Response:
        return HTMLResponse(html, headers=HEADERS)

    @routes.get("/playground/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in files:
            raise Problem(404, f"there is no file {name[:60]!r}", code="not_found")
        content, kind = files[name]
        return Response(content, headers=HEADERS, media_type=kind)

    @routes.get(
        "/v1/rstitch/traces/{reply}",
        summary="Trace of a recent reply with provenance",
        response_class=Response,
        responses={200: FOUND, **wrong(401, 404)},
    )
    async def trace(reply: str, request: Request) -> Response:
        found = served.traces.found(reply, served.entry.who(request.headers))
        if found is None:
            told = f"there is no trace of {reply[:60]!r}; only those of the latest replies are kept"
            raise Problem(404, told, code="not_found")
        headers = {"content-disposition": f'attachment; filename="{reply}.jsonl"'}
        text = await asyncio.to_thread(written, found)
        return Response(text, headers=headers, media_type=TRACE)

    @routes.get(
        "/v1/rstitch/words",
        summary="Tokens by themselves, as text",
        openapi_extra=WORDS,
        responses=wrong(400, 401),
    )
    async def words(request: Request) -> Response:
        served.entry.who(request.headers)
        return JSONResponse(
            {
                side.label: [
                    served.words.of(side, token)[0] for token in _ids(served, side, request)
                ]
                for side in served.stitch.models
            }
        )

    return routes


WORDS = {
    "parameters": [
        {
            "name": side.label,
            "in": "query",
            "description": f"Ids of the {side.name}, with commas between them.",
            "schema": {"type": "string", "pattern": "^([0-9]{1,9}(,[0-9]{1,9})*)?$"},
        }
        for side in Side
    ]
}


def _ids(served: Served, side: Side, request: Request) -> list[int]:
    """Raises Problem (400) for what is no token of that side."""
    given = request.query_params.get(side.label, "")
    size, found = served.stitch.models[side].runner.vocab_size, given.split(",") if given else []
    if len(found) > MOST_WORDS:
        raise bad(f"{side.label} has {len(found)} ids; send at most {MOST_WORDS}", side.label)
    for one in found:
        if not (one.isascii() and one.isdigit() and len(one) < 10 and int(one) < size):
            told = f"{side.label} has {one[:20]!r}; ids are whole numbers below {size}"
            raise bad(told, side.label)
    return [int(one) for one in found]
