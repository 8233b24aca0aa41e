"""One request on its way: its turn, its events, and a reply or a stream of chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from rstitch.engine.request import Request
from rstitch.server.choice import Choice
from rstitch.server.entry import Ticket
from rstitch.server.errors import SHUTTING_DOWN, Problem
from rstitch.server.keys import Key
from rstitch.server.loop import Arrived
from rstitch.server.reply import Form
from rstitch.server.served import Served
from rstitch.server.sse import event
from rstitch.server.task import Task
from rstitch.text import Phase, ReasoningStream
from rstitch.types import Side


@dataclass(slots=True)
class Answering:
    """One HTTP request's answers, from its turn to the last of them."""

    served: Served
    key: Key
    task: Task
    form: Form
    choices: list[Choice]
    begun: bool = False
    """It has had its turn."""

    async def reply(self) -> dict[str, Any]:
        """Raises Problem, RStitchError."""
        async with aclosing(self._bursts()) as bursts:
            async for _ in bursts:
                pass
        return self.form.whole(self.choices)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The stream's events. Raises as `reply`, before the first or between two."""
        begun: set[int] = set()
        async with aclosing(self._bursts()) as bursts:
            async for news in bursts:
                for index in sorted(news):
                    chunk = self._chunk(index, index not in begun, index == max(news))
                    if chunk:
                        begun.add(index)
                        yield chunk
        if self.task.usage_chunk:
            yield event(self.form.last(self.choices))

    @property
    def headers(self) -> dict[str, str]:
        headers = {"x-request-id": self.form.id}
        if self.task.ignored:
            headers["x-rstitch-ignored"] = ", ".join(self.task.ignored)
        if self._degraded:
            headers["x-rstitch-degraded"] = "llm"
        return headers

    @property
    def _degraded(self) -> bool:
        lost = "llm" in self.served.lost and Side.LLM in self.task.policy.sides()
        return lost or self.form.is_degraded(self.choices)

    async def _bursts(self) -> AsyncGenerator[set[int]]:
        """Have it written: after each burst, the answers that something came for."""
        async with AsyncExitStack() as held:
            ticket = await held.enter_async_context(self._turn())
            requests = [self._late(one, ticket) for one in self.task.requests]
            inbox = self.served.loop.open(requests)
            held.callback(inbox.close)
            self.served.metrics.begin(inbox.names, ticket.waited)
            if self.task.asked.provenance:
                self.served.traces.begin(self.form.name, self.key, requests, self.task.model)
            while arrived := await inbox.burst():
                yield self._take(arrived)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Ticket]:
        async with self.served.entry.enter(self.key, self.task) as ticket:
            self.begun, self.form.queued = True, ticket.waited
            try:
                yield ticket
            finally:
                ticket.settle(self.task.prompt_tokens + sum(one.kept for one in self.choices))

    def _late(self, request: Request, ticket: Ticket) -> Request:
        """A deadline counts from when the request came, the engine's from when it begins."""
        deadline = getattr(request.policy, "deadline", None)
        if deadline is None:
            return request
        left = max(0.0, deadline - ticket.waited)
        return replace(request, policy=replace(request.policy, deadline=left))  # type: ignore[type-var]  # a dataclass

    def _take(self, arrived: Arrived) -> set[int]:
        for index, one in arrived:
            choice = self.choices[index]
            choice.add(one)
            self.served.traces.add(self.form.name, index, one)
            if choice.error is not None:
                raise choice.error
            if choice.reason == "cancelled":  # by nobody here, so the engine was closed
                raise Problem(503, SHUTTING_DOWN, code="unavailable", retry_after=1)
        return {index for index, _ in arrived}

    def _chunk(self, index: int, first: bool, latest: bool) -> bytes:
        """Empty where there is nothing to tell."""
        choice = self.choices[index]
        opening = event(self.form.opening(choice)) if first and not self.form.plain else b""
        part = choice.take()
        if not (choice.ended or self.form.shows(part)):
            return opening
        chunk = self.form.chunk(choice, part)
        if latest and not self.task.usage_chunk and all(one.ended for one in self.choices):
            chunk = self.form.last(self.choices, chunk)
        return opening + event(chunk)


def answering(served: Served, key: Key, task: Task, name: str) -> Answering:
    """name: of the request, for its reply and the log."""
    form = Form(task, served.words, served.fingerprint(task.policy), name)
    return Answering(served, key, task, form, _choices(served, task))


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
