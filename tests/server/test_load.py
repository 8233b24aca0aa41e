"""Two hundred requests of every kind leave nothing behind; a server that is killed tells everybody.

`benchmarks/soak.py` is the same at length.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import openai
import pytest

from benchmarks.mixed import KINDS, Mixture
from benchmarks.served import HOST, Server, serve
from benchmarks.soak import answered, killed, streams
from tests.server.serving import QUESTION, Running, asking, serving

CLIENTS = 4
CUT_SHORT = (openai.APIConnectionError, httpx.RemoteProtocolError, httpx.ReadError)
"""What OpenAI's client makes of a connection that is gone, before and within a stream."""


def handles() -> int:
    """Open files and sockets of this process."""
    return len(os.listdir("/proc/self/fd"))


def tasks(server: Running) -> int:
    """Of the server's event loop."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    loop = server.server._loop
    assert loop is not None
    return asyncio.run_coroutine_threadsafe(count(), loop).result(10)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts handles as Linux does")
def test_mixed_requests_leave_nothing_behind() -> None:
    """What was not answered as its kind has to be, or hung, is in `unexpected`."""
    with serving() as server:
        port = int(server.url.rpartition(":")[2])
        mixture = Mixture(HOST, port, [QUESTION], lengths=(8, 20, 60))
        before = tasks(server), handles()
        asyncio.run(mixture.run(200, clients=8))
        assert not mixture.sent.unexpected
        assert mixture.sent.counts.keys() == KINDS.keys()
        server.assert_clean()
        server.until(lambda: tasks(server) <= before[0] and handles() <= before[1])


def test_a_killed_server_tells_everybody_and_comes_back() -> None:
    """Nobody hangs, nothing that was cut short looks whole, and its port can be had at once."""
    requests = streams(CLIENTS)

    async def under_load(server: Server) -> None:
        other = asyncio.create_task(reads_on(server))
        found = await killed(server, requests, load=0.5)
        assert (found["lost"], found["hanging"], found["wrong"]) == (CLIENTS, 0, [])
        with pytest.raises(CUT_SHORT):
            await asyncio.wait_for(other, 10)

    with serve("--threads", "1") as server:
        asyncio.run(under_load(server))
        assert asyncio.run(answered(server.port, requests)) == 0
    with serve("--threads", "1", port=server.port):
        assert asyncio.run(answered(server.port, requests)) == CLIENTS


async def reads_on(server: Server) -> None:
    """Streams with OpenAI's client, one after the other."""
    url, key = f"{server.url}/v1", "none"
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        while True:
            body = asking(model="builtin", max_tokens=400)
            async for _ in await client.chat.completions.create(**body, stream=True):
                pass
