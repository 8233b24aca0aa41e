"""One request on its way: its turn, its events, and a reply or a stream of chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from fastapi import Request
from starlette.responses import JSONResponse, Response

from rstitch.server.ask import Task
from rstitch.server.choice import Choice
from rstitch.server.loop import Gone, Inbox
from rstitch.server.reply import Form
from rstitch.server.served import Served
from rstitch.server.sse import EventStream, event
from rstitch.text import Phase, ReasoningStream

CLIENT_GONE = 499
"""What logs say where nobody was there to read a status."""


async def answer(http: Request, served: Served, task: Task) -> Response:
    """The whole reply, or a stream that has begun. Raises Problem, BadRequest."""
    form = Form(task, served.words, served.fingerprint(task.policy))
    choices = _choices(served, task)
    bursts = _bursts(http, served, task, choices)
    headers = {"x-rstitch-ignored": ", ".join(task.ignored)} if task.ignored else {}
    if not task.body.stream:
        try:
            async for _ in bursts:
                pass
        except Gone:
            return Response(status_code=CLIENT_GONE)
        return JSONResponse(form.whole(choices), headers=headers)
    chunks = _chunks(bursts, form, choices)
    try:
        first = await anext(chunks)
    except Gone:
        return Response(status_code=CLIENT_GONE)
    return EventStream(first, chunks, headers)


async def _bursts(
    http: Request, served: Served, task: Task, choices: list[Choice]
) -> AsyncIterator[set[int]]:
    """Have it written: after each burst, the answers that something came for."""
    inbox = served.loop.open(task.requests)
    watch = asyncio.create_task(_leave(http, inbox))
    try:
        while arrived := await inbox.burst():
            for index, one in arrived:
                choices[index].add(one)
                if choices[index].error is not None:
                    raise served.problem(choices[index].error)
            yield {index for index, _ in arrived}
    finally:
        watch.cancel()
        inbox.close()


async def _leave(http: Request, inbox: Inbox) -> None:
    """Wait until the client is gone, and say so."""
    while (await http.receive())["type"] != "http.disconnect":
        pass
    inbox.leave()


async def _chunks(
    bursts: AsyncIterator[set[int]], form: Form, choices: list[Choice]
) -> AsyncIterator[bytes]:
    begun: set[int] = set()
    options = form.task.body.stream_options
    own_end = options is not None and bool(options.include_usage)
    async with aclosing(bursts):  # type: ignore[type-var]  # it is a generator
        async for news in bursts:
            for index in sorted(news):
                choice = choices[index]
                part, first = choice.take(), index not in begun
                if not (first or choice.ended or form.shows(part)):
                    continue
                begun.add(index)
                chunk = form.chunk(choice, part, first)
                if not own_end and all(one.ended for one in choices) and index == max(news):
                    chunk = form.last(choices, chunk)
                yield event(chunk)
    if own_end:
        yield event(form.last(choices))
    yield b"data: [DONE]\n\n"


def _choices(served: Served, task: Task) -> list[Choice]:
    thinks = [think for think, one in zip(task.thinks, task.requests, strict=True)
              for _ in range(one.n)]  # fmt: skip
    return [
        Choice(
            index,
            served.stitch.ends,
            ReasoningStream(Phase.REASONING if think else Phase.ANSWER),
            task.keeps_tokens,
        )
        for index, think in enumerate(thinks)
    ]
