"""One request on its way: its turn, its events, and a reply or a stream of chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from rstitch.server.ask import Task
from rstitch.server.choice import Choice
from rstitch.server.errors import SHUTTING_DOWN, Problem
from rstitch.server.keys import Key
from rstitch.server.limits import before
from rstitch.server.loop import Arrived, Inbox
from rstitch.server.reply import Form
from rstitch.server.served import Served
from rstitch.server.sse import DONE, EventStream, event
from rstitch.text import Phase, ReasoningStream


@dataclass(slots=True)
class Answering:
    """One HTTP request's answers, from its turn to the last of them."""

    served: Served
    http: Request
    key: Key
    task: Task
    deadline: float
    """Second of the event loop's clock at which it is over."""
    form: Form
    choices: list[Choice]

    async def bursts(self) -> AsyncGenerator[set[int]]:
        """Have it written: after each burst, the answers that something came for."""
        async with AsyncExitStack() as held:
            entered = held.enter_async_context(self.served.entry.enter(self.key, self.task))
            ticket = await before(self.deadline, entered)
            self.form.queued = ticket.waited
            inbox = self.served.loop.open(self.task.requests)
            if self.task.asked.provenance:
                self.served.traces.begin(self.form.id, self.key, self.task)
            watch = asyncio.create_task(_leave(self.http, inbox))
            try:
                while arrived := await before(self.deadline, inbox.burst()):
                    yield self._take(arrived)
            finally:
                watch.cancel()
                inbox.close()
                ticket.settle(self._tokens())

    def _take(self, arrived: Arrived) -> set[int]:
        for index, one in arrived:
            choice = self.choices[index]
            choice.add(one)
            self.served.traces.add(self.form.id, index, one)
            if choice.error is not None:
                raise self.served.problem(choice.error)
            if choice.reason == "cancelled":  # by nobody here, so the engine was closed
                raise Problem(503, SHUTTING_DOWN, code="unavailable", retry_after=1)
        return {index for index, _ in arrived}

    def _tokens(self) -> int:
        return self.task.prompt_tokens + sum(choice.kept for choice in self.choices)

    async def reply(self) -> Response:
        async with aclosing(self.bursts()) as bursts:
            async for _ in bursts:
                pass
        whole = self.form.whole(self.choices)
        return JSONResponse(whole, headers=self._headers())

    async def stream(self) -> Response:
        """It has begun: what fails before the first token still has a status of its own."""
        chunks = self._chunks()
        try:
            first = await anext(chunks)
        except BaseException:
            await chunks.aclose()
            raise
        return EventStream(first, chunks, self._headers(), self.deadline)

    async def _chunks(self) -> AsyncGenerator[bytes]:
        begun: set[int] = set()
        async with aclosing(self.bursts()) as bursts:
            async for news in bursts:
                for index in sorted(news):
                    chunk = self._chunk(index, index not in begun, index == max(news))
                    if chunk:
                        begun.add(index)
                        yield chunk
        if self.task.usage_chunk:
            yield event(self.form.last(self.choices))
        yield DONE

    def _chunk(self, index: int, first: bool, latest: bool) -> bytes:
        """Empty where there is nothing to tell."""
        choice = self.choices[index]
        part = choice.take()
        if not (first or choice.ended or self.form.shows(part)):
            return b""
        chunk = self.form.chunk(choice, part, first)
        if latest and not self.task.usage_chunk and all(one.ended for one in self.choices):
            chunk = self.form.last(self.choices, chunk)
        return event(chunk)

    def _headers(self) -> dict[str, str]:
        headers = {"x-rstitch-ignored": ", ".join(self.task.ignored)} if self.task.ignored else {}
        if self.form.is_degraded(self.choices) or "llm" in self.served.lost:
            headers["x-rstitch-degraded"] = "llm"
        return headers


async def answer(served: Served, http: Request, key: Key, task: Task, deadline: float) -> Response:
    """The whole reply, or a stream that has begun. Raises Problem, RStitchError, Gone."""
    form = Form(task, served.words, served.fingerprint(task.policy))
    one = Answering(served, http, key, task, deadline, form, _choices(served, task))
    return await (one.stream() if task.body.stream else one.reply())


def _choices(served: Served, task: Task) -> list[Choice]:
    begins = {True: Phase.REASONING, False: Phase.ANSWER}
    thinks = [
        think
        for think, request in zip(task.thinks, task.requests, strict=True)
        for _ in range(request.n)
    ]
    return [
        Choice(index, served.stitch.ends, ReasoningStream(begins[think]), task.keeps_tokens)
        for index, think in enumerate(thinks)
    ]


async def _leave(http: Request, inbox: Inbox) -> None:
    """Wait until the client is gone, and say so."""
    try:
        while (await http.receive())["type"] != "http.disconnect":
            pass
    except ClientDisconnect:
        pass
    inbox.leave()
