"""The two routes that have something written."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from rstitch.server import openapi
from rstitch.server.answering import Answering, answering
from rstitch.server.body import parse
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.errors import Problem
from rstitch.server.keys import Key
from rstitch.server.limits import read
from rstitch.server.patience import Gone, Patience
from rstitch.server.record import CLIENT_GONE, Record
from rstitch.server.refusal import Refused
from rstitch.server.served import Served
from rstitch.server.sse import EventStream
from rstitch.server.task import Task

Kind = type[Chat] | type[Completion]
LONG = 16 * 1024
"""Bytes of a body from which it is read in a thread: it takes longer than a burst of steps."""


def router(served: Served) -> APIRouter:
    routes = APIRouter()

    @routes.post(Chat.route, **openapi.writing(Chat, "Go on with a chat"))
    async def chat_completions(request: Request) -> Response:
        return await _write(served, request, Chat)

    @routes.post(Completion.route, **openapi.writing(Completion, "Go on with a text"))
    async def text_completions(request: Request) -> Response:
        return await _write(served, request, Completion)

    return routes


async def _write(served: Served, http: Request, kind: Kind) -> Response:
    record = Record(served.metrics)
    try:
        return await _begin(served, http, kind, record)
    except (Gone, ClientDisconnect):
        record.end(CLIENT_GONE)
        return Response(status_code=CLIENT_GONE)
    except asyncio.CancelledError:
        record.end(CLIENT_GONE)
        raise
    except Exception as error:
        problem = record.failed(_without_a_turn(served, record, error) or error)
        record.end(problem.status, problem.code)
        headers = {**problem.all_headers(), "x-request-id": record.id}
        return JSONResponse(problem.body(), problem.status, headers)


def _without_a_turn(served: Served, record: Record, error: Exception) -> Refused | None:
    """Its time was up while it waited for others, so fewer tokens would not have helped."""
    late = isinstance(error, Problem) and error.status == 408
    if not late or record.answering is None or record.answering.begun:
        return None
    seconds = served.config.limits.request_seconds
    told = f"the {seconds:g} seconds of this request were up before its turn came; try again later"
    return Refused("queue_full", told, served.entry.queue.retry_after)


async def _begin(served: Served, http: Request, kind: Kind, record: Record) -> Response:
    limits = served.config.limits
    patience = Patience(limits.request_seconds)
    key = record.key = served.entry.who(http.headers)
    async with patience.limit():
        body = await read(http, limits.max_body_bytes)
    task = await _task(served, kind, body, key)
    one = record.answering = answering(served, key, task, record.id)
    if task.body.stream:
        return await _stream(one, http, patience, record)
    async with patience.watching(http.receive):
        reply: dict[str, Any] = await one.reply()
    served.shadow.offer(one.task, one.choices)
    record.end(200)
    return JSONResponse(reply, headers=one.headers)


async def _task(served: Served, kind: Kind, body: bytes, key: Key) -> Task:
    def read_task() -> Task:
        return served.asking.read(parse(kind, body), key.name)

    return await asyncio.to_thread(read_task) if len(body) > LONG else read_task()


async def _stream(one: Answering, http: Request, patience: Patience, record: Record) -> Response:
    """It has begun: what fails before the first token still has a status of its own."""
    chunks = one.chunks()
    try:
        async with patience.watching(http.receive):
            first = await anext(chunks)
    except BaseException:
        await chunks.aclose()
        raise

    def end(error: Exception | None) -> Problem | None:
        if error is None:
            one.served.shadow.offer(one.task, one.choices)
            record.end(200)
        elif isinstance(error, Gone):
            record.end(CLIENT_GONE)
        else:
            problem = record.failed(error)
            record.end(200, problem.code)
            return problem
        return None

    return EventStream(first, chunks, one.headers, patience, end)
