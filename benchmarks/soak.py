"""Does a server that gets requests of every kind stay as it was, and what if it is killed?

    python -m benchmarks.soak [--quick] [--save]

Thousands of requests from 16 clients: answers, streams, slow readers, clients that leave at any
point, bodies that are too large, no JSON or wrong (`benchmarks.mixed`). What the process holds is
read whenever nothing is in flight, after each tenth of the requests. Before that all rows that the
engine may have are in flight at once, since KV memory grows with them and is kept; and the first
100 requests at least are warm-up. The ratio is the resident set at the end over that after the
warm-up.

Then kill -9 under 16 streams: each client has to see an error at once, no answer that is cut short
may look whole, and a new server on the same port has to answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client import Lost, connected, post
from benchmarks.common import finish, parsed, parser, progress, say, show_bars
from benchmarks.mixed import Mixture, Sent
from benchmarks.served import HOST, Server, serve
from rstitch.config import EngineConfig
from rstitch.pairs.recipe.splits import problems, spread

REQUESTS, QUICK = 10_000, 200
CLIENTS = 16
WAVES = 10
WARM = 100
"""Requests before the first reading that counts."""
GOAL = 1.03
LOAD = 2.0
"""Seconds of streams before the server is killed."""
AT_ONCE = 5.0
"""Seconds after which a client that has seen no error hangs."""
USED = tuple(f'rstitch_kv_pages{{side="{side}",state="used"}}' for side in ("slm", "llm"))


@dataclass(frozen=True, slots=True)
class Reading:
    """What the process holds with nothing in flight."""

    requests: int
    resident: int
    """Bytes."""
    handles: int
    tasks: int
    pages: int
    """Of KV in use, both sides."""


def reading(server: Server, requests: int, seconds: float = 10.0) -> Reading:
    """As soon as it is the same twice, so that what clients left behind is noticed."""
    until, before = time.monotonic() + seconds, None
    while True:
        pages = int(sum(map(server.metrics().__getitem__, USED)))
        time.sleep(0.2)  # in which the connection that was asked over is closed
        now = server.handles(), server.tasks(), pages
        if (now == before and not pages) or time.monotonic() > until:
            return Reading(requests, server.resident(), *now)
        before = now


def soak(server: Server, total: int) -> tuple[list[Reading], Sent]:
    asyncio.run(answered(server.port, streams(2 * EngineConfig().max_rows)))
    questions = [one.question for one in spread(problems("test"), 400)]
    mixture, found = Mixture(HOST, server.port, questions), list[Reading]()
    for wave in range(1, WAVES + 1):
        asyncio.run(mixture.run(total // WAVES, CLIENTS, seed=wave))
        one = reading(server, wave * total // WAVES)
        found += [one] if one.requests >= WARM else []
        progress(f"{one.requests} requests: {one.resident / 2**20:.1f} MiB resident")
    return found, mixture.sent


# -- kill -9 --------------------------------------------------------------------------------------


async def killed(server: Server, requests: Sequence[bytes], load: float = LOAD) -> dict[str, Any]:
    """Kill it while each client has its streams; whole answers, errors, and who hangs."""
    clients = [asyncio.create_task(_until_lost(server.port, one)) for one in requests]
    await asyncio.sleep(load)
    server.kill()
    done, hanging = await asyncio.wait(clients, timeout=AT_ONCE)
    for one in hanging:
        one.cancel()
    wrong = [str(one.exception()) for one in done if one.exception() is not None]
    answers = sum(one.result() for one in done if one.exception() is None)
    return {"answers": answers, "lost": len(done), "hanging": len(hanging), "wrong": wrong}


async def _until_lost(port: int, request: bytes) -> int:
    """Whole answers until the connection is lost. Raises ValueError for one that only looks so."""
    answers = 0
    try:
        async with connected(HOST, port) as connection:
            while True:
                reply = await connection.ask(request)
                if reply.status != 200:
                    raise ValueError(f"status {reply.status}")
                answers += bool(reply.events)
    except Lost:
        return answers


async def answered(port: int, requests: Sequence[bytes]) -> int:
    """How many of them, all at once, get their answer."""

    async def one(request: bytes) -> bool:
        try:
            async with connected(HOST, port) as connection:
                return (await connection.ask(request)).status == 200
        except Lost:
            return False

    return sum(await asyncio.gather(*map(one, requests)))


def streams(clients: int) -> list[bytes]:
    return [
        post({"messages": [{"role": "user", "content": one.question}], "stream": True})
        for one in spread(problems("test"), clients)
    ]


def comes_back() -> dict[str, Any]:
    requests = streams(CLIENTS)
    with serve() as server:
        found = asyncio.run(killed(server, requests))
    with serve(port=server.port):
        return {**found, "answered_after": asyncio.run(answered(server.port, requests))}


# -- the report -----------------------------------------------------------------------------------


def bars_of(found: list[Reading], sent: Sent, kill: dict[str, Any]) -> dict[str, bool]:
    first, last = found[0], found[-1]
    return {
        "nothing_unexpected": not sent.unexpected,
        "no_5xx": not sent.server_errors(),
        "no_pages_left": not last.pages,
        "no_tasks_left": last.tasks <= first.tasks,
        "no_handles_left": last.handles <= first.handles,
        "memory_within_3_percent": last.resident <= GOAL * first.resident,
        "killed_all_clients_see_it": kill["lost"] == CLIENTS and not kill["wrong"],
        "killed_a_new_one_answers": kill["answered_after"] == CLIENTS,
    }


def show(found: list[Reading], sent: Sent, kill: dict[str, Any]) -> None:
    say(f"{'requests':>8} {'resident MiB':>13} {'handles':>8} {'tasks':>6} {'KV pages':>9}")
    for one in (found[0], max(found, key=lambda one: one.resident), found[-1]):
        resident = one.resident / 2**20
        say(f"{one.requests:8} {resident:13.1f} {one.handles:8} {one.tasks:6} {one.pages:9}")
    say(", ".join(f"{count} {kind}" for kind, count in sorted(sent.counts.items())))
    for what, count in sent.unexpected.items():
        say(f"unexpected, {count} times: {what}")
    say(f"killed: {kill}")


def main() -> None:
    args = parsed(parser(__doc__, f"{QUICK} requests"))
    total = QUICK if args.quick else REQUESTS
    started = time.perf_counter()
    with serve(watched=True) as server:
        found, sent = soak(server, total)
    kill = comes_back()
    show(found, sent, kill)
    bars = bars_of(found, sent, kill)
    show_bars(bars)
    ratio = found[-1].resident / found[0].resident
    details = {
        "better": "lower",
        "readings": [asdict(one) for one in found],
        "sent": dict(sent.counts),
        "unexpected": dict(sent.unexpected),
        "killed": kill,
        "bars": bars,
        "seconds": time.perf_counter() - started,
    }
    finish("soak", ratio, GOAL, details, args.save)


if __name__ == "__main__":
    main()
