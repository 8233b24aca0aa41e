"""A load generator: closed loops of clients, in a process of its own so that no GIL is shared.

A line of JSON on stdin is a block (`Block`), a line on stdout what came of it (`Done`). It imports
nothing but the standard library, and looks at a reply only after the block.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import Connection, Lost, Reply, connected, post


@dataclass(frozen=True, slots=True)
class Group:
    """Clients that are alike; each sends the next of the bodies when its last is answered."""

    clients: int
    bodies: list[dict[str, Any]]
    """In turn, again and again."""
    requests: int | None
    """Of all its clients together; None: as long as others are at it."""
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One request that came to an end."""

    sent: float
    """Second of the generator's clock."""
    first: float
    """Seconds from there to the first token."""
    seconds: float
    tokens: int
    reason: str
    """Its finish reason; "lost" where there was no whole answer, or what the server said."""

    @property
    def ended(self) -> float:
        return self.sent + self.seconds


@dataclass(frozen=True, slots=True)
class Done:
    """A block. `cpu` and `wall` are seconds of the generator's."""

    answers: list[list[Answer]]
    """Per group, in the order in which they ended."""
    cpu: float
    wall: float


class Generator:
    """The process, from the side of who wants load."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, groups: Sequence[Group]) -> Done:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(group) for group in groups]) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        answers = [[Answer(**one) for one in group] for group in told.pop("answers")]
        return Done(answers, **told)


@contextmanager
def generator(host: str, port: int) -> Iterator[Generator]:
    command = [sys.executable, "-m", "benchmarks.load", host, str(port)]
    pipe, root = subprocess.PIPE, Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=root) as process:
        try:
            yield Generator(process)
        finally:
            process.kill()


async def block(host: str, port: int, groups: Sequence[Group]) -> list[list[Answer]]:
    """All groups at once, until those with a number of requests have had them."""
    taken: list[list[tuple[float, Reply | None]]] = [[] for _ in groups]
    tasks: dict[bool, list[asyncio.Task[None]]] = {True: [], False: []}
    for group, found in zip(groups, taken, strict=True):
        requests = itertools.cycle([post(body, group.key) for body in group.bodies])
        turns = itertools.islice(requests, group.requests)
        tasks[group.requests is None] += [
            asyncio.create_task(_client(host, port, turns, found)) for _ in range(group.clients)
        ]
    await asyncio.gather(*tasks[False])
    for endless in tasks[True]:
        endless.cancel()
    await asyncio.gather(*tasks[True], return_exceptions=True)
    return [[_answer(*one) for one in found] for found in taken]


async def _client(
    host: str, port: int, turns: Iterator[bytes], found: list[tuple[float, Reply | None]]
) -> None:
    async with connected(host, port) as connection:
        for request in turns:
            found.append(await _one(connection, request))
            if found[-1][1] is None:
                return


async def _one(connection: Connection, request: bytes) -> tuple[float, Reply | None]:
    sent = time.perf_counter()
    try:
        return sent, await connection.ask(request)
    except Lost:
        return sent, None


def _answer(sent: float, reply: Reply | None) -> Answer:
    if reply is None:
        return Answer(sent, 0.0, 0.0, 0, "lost")
    tokens, reason = 0, f"status {reply.status}"
    if reply.status == 200:
        tokens, reason = _end(reply)
    return Answer(sent, reply.first, reply.seconds, tokens, reason)


def _end(reply: Reply) -> tuple[int, str]:
    """Tokens and finish reason of a stream."""
    try:
        last = reply.events[-1]
        told, (choice,) = last["rstitch"], last["choices"]
    except (ValueError, KeyError):
        return 0, "lost"
    return told["slm_tokens"] + told["llm_tokens"], choice["finish_reason"] or "lost"


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    for line in sys.stdin:
        groups = [Group(**one) for one in json.loads(line)]
        cpu, wall = time.process_time(), time.perf_counter()
        answers = asyncio.run(block(host, port, groups))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        told = [[asdict(one) for one in group] for group in answers]
        print(json.dumps({"answers": told, "cpu": cpu, "wall": wall}), flush=True)


if __name__ == "__main__":
    main()
