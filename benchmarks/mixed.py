"""Requests of every kind that a server in the open gets, drawn by seed, and what each may come to.

One client sends them one after the other, each over a connection of its own or over the last one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.client import CHAT, Connection, Lost, Reply, connected, post

LENGTHS = (400, 8, 60, 20, 160)
"""Tokens of an answer at most."""
PAUSE = 0.2
"""Seconds in which a slow reader takes nothing."""
TOO_LARGE = 2**20 + 1
HANG = 120.0
"""Seconds after which a request counts as hanging."""


@dataclass(slots=True)
class Sent:
    """What came of all requests, by kind."""

    counts: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)
    """Kind and what it came to, where it should have come to something else."""

    @property
    def answered(self) -> int:
        return self.counts["whole"] + self.counts["stream"] + self.counts["slow"]

    def server_errors(self) -> int:
        """Replies of 500 and above."""
        return sum(count for what, count in self.unexpected.items() if ": status 5" in what)


@dataclass(slots=True)
class Mixture:
    """Sends requests of mixed kinds to one server."""

    host: str
    port: int
    questions: Sequence[str]
    lengths: Sequence[int] = LENGTHS
    sent: Sent = field(default_factory=Sent)

    async def run(self, requests: int, clients: int, seed: int = 0) -> None:
        """So many of them, from so many clients at once."""
        numbers = iter(range(requests))
        await asyncio.gather(*(self._client(numbers, seed) for _ in range(clients)))

    async def _client(self, numbers: Iterator[int], seed: int) -> None:
        async with AsyncExitStack() as held:
            connection: Connection | None = None
            for number in numbers:
                drawn = random.Random(f"{seed}/{number}")
                if connection is None or not connection.open or drawn.random() < 0.2:
                    await held.aclose()
                    entered = connected(self.host, self.port)
                    connection = await held.enter_async_context(entered)
                await self._one(connection, drawn)

    async def _one(self, connection: Connection, drawn: random.Random) -> None:
        kind = drawn.choices([*KINDS], [weight for weight, _ in KINDS.values()])[0]
        _, act = KINDS[kind]
        try:
            async with asyncio.timeout(HANG):
                came = await act(connection, self._body(drawn), drawn)
        except TimeoutError:
            came = "hangs"
        except Lost:
            came = "lost"
        self.sent.counts[kind] += 1
        if came:
            self.sent.unexpected[f"{kind}: {came}"] += 1

    def _body(self, drawn: random.Random) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": drawn.choice(["builtin", "builtin@0.2", "builtin-slm", "builtin-llm"]),
            "messages": [{"role": "user", "content": drawn.choice(self.questions)}],
            "max_tokens": drawn.choice(self.lengths),
            "temperature": drawn.choice([0, 0.7, 1.5]),
            "seed": drawn.randrange(1000),
        }
        if drawn.random() < 0.2:
            body |= {"n": drawn.choice([2, 4]), "stop": ["="], "presence_penalty": 0.5}
        if drawn.random() < 0.2:
            body |= {"logprobs": True, "top_logprobs": 3, "rstitch": {"provenance": True}}
        return body


# -- the kinds: each says what was wrong, or nothing ----------------------------------------------

Body = dict[str, Any]
Kind = Callable[[Connection, Body, random.Random], Awaitable[str]]


async def _whole(connection: Connection, body: Body, drawn: random.Random) -> str:
    return _wants(await connection.ask(post(body)), 200)


async def _stream(connection: Connection, body: Body, drawn: random.Random) -> str:
    reply = await connection.ask(post({**body, "stream": True}))
    return _wants(reply, 200) or _whole_stream(reply)


async def _slow(connection: Connection, body: Body, drawn: random.Random) -> str:
    """A stream that is not read for a while, and then to its end."""
    connection.send(post({**body, "stream": True, "rstitch": {"provenance": True}}))
    await connection.begun()
    assert connection.transport is not None
    if connection.open:
        connection.transport.pause_reading()
        await asyncio.sleep(PAUSE)
        connection.transport.resume_reading()
    reply = await connection.rest()
    return _wants(reply, 200) or _whole_stream(reply)


async def _disconnects(connection: Connection, body: Body, drawn: random.Random) -> str:
    """In the middle of a stream."""
    connection.send(post({**body, "stream": True, "max_tokens": 400}))
    await connection.begun()
    await asyncio.sleep(0.05 * drawn.random())
    return _leave(connection)


async def _cancels(connection: Connection, body: Body, drawn: random.Random) -> str:
    """Before there is a reply."""
    connection.send(post({**body, "max_tokens": 400}))
    await asyncio.sleep(0.1 * drawn.random())
    return _leave(connection)


async def _half(connection: Connection, body: Body, drawn: random.Random) -> str:
    """Leaves with half of its body sent."""
    request = post(body)
    connection.send(request[: -len(json.dumps(body)) // 2])
    await asyncio.sleep(0.01)
    return _leave(connection)


async def _oversized(connection: Connection, body: Body, drawn: random.Random) -> str:
    body["messages"][0]["content"] = "a" * TOO_LARGE
    return _wants(await connection.ask(post(body)), 413)


async def _long(connection: Connection, body: Body, drawn: random.Random) -> str:
    """A prompt that no context holds."""
    body["messages"][0]["content"] = "three apples and " * 4000
    return _wants(await connection.ask(post(body)), 400)


async def _bad_json(connection: Connection, body: Body, drawn: random.Random) -> str:
    text = json.dumps(body)
    wrong = [text[: drawn.randrange(len(text))].encode(), b"\xff" + text.encode(), b"[" * 5000]
    return _wants(await connection.ask(post(drawn.choice(wrong))), 400)


async def _bad_field(connection: Connection, body: Body, drawn: random.Random) -> str:
    wrong = [{"n": 0}, {"temperature": "hot"}, {"tools": [1]}, {"nobody": 1}, {"stop": [""]}]
    return _wants(await connection.ask(post({**body, **drawn.choice(wrong)})), 400)


async def _no_model(connection: Connection, body: Body, drawn: random.Random) -> str:
    return _wants(await connection.ask(post({**body, "model": "nobody"})), 404)


async def _no_http(connection: Connection, body: Body, drawn: random.Random) -> str:
    reply = await connection.ask(drawn.randbytes(100) + b"\r\n\r\n")
    return _wants(reply, 400)


async def _no_path(connection: Connection, body: Body, drawn: random.Random) -> str:
    return _wants(await connection.ask(post(body, path=f"{CHAT}/../../etc/passwd")), 404)


KINDS: dict[str, tuple[int, Kind]] = {
    "whole": (20, _whole),
    "stream": (20, _stream),
    "slow": (6, _slow),
    "disconnects": (10, _disconnects),
    "cancels": (10, _cancels),
    "half": (5, _half),
    "oversized": (5, _oversized),
    "long": (3, _long),
    "bad_json": (7, _bad_json),
    "bad_field": (7, _bad_field),
    "no_model": (3, _no_model),
    "no_http": (2, _no_http),
    "no_path": (2, _no_path),
}
"""How often each comes, of a hundred."""


def _wants(reply: Reply, status: int) -> str:
    return "" if reply.status == status else f"status {reply.status} {reply.body[:120]!r}"


def _whole_stream(reply: Reply) -> str:
    try:
        events = reply.events
    except ValueError as error:
        return str(error)
    return "" if not any("error" in event for event in events) else f"{events[-1]}"


def _leave(connection: Connection) -> str:
    assert connection.transport is not None
    connection.transport.abort()
    return ""
