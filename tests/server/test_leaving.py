"""A client that goes away: what it asked for is given up within one step, wherever it was."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.passes import noting_stops
from tests.server.serving import CHAT, Running, asking, slowly, used

LONG: dict[str, Any] = {"temperature": 2.0, "max_tokens": 900}


@pytest.fixture
def server(either: Running) -> Running:
    return either


def leave(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)
    client.close()


@pytest.mark.parametrize("stream", [True, False])
def test_in_the_middle_of_an_answer(server: Running, stream: bool) -> None:
    engine = server.stitch.engine
    with slowly(server.stitch), noting_stops(engine):
        before = len(engine.stats()["stops"])
        client = server.connect(CHAT, asking(stream=stream, n=2, **LONG))
        if stream:
            assert b"200 OK" in client.recv(4096)
        server.until(lambda: server.active)
        leave(client)
        assert server.idle()
        server.until(lambda: not used(engine.stats()))
        stops = engine.stats()["stops"][before:]
    assert len(stops) == 2
    assert stops[-1] - stops[0] <= 1 and server.steps <= stops[-1] + 2, (
        "the step under way, and the one that takes it out"
    )


def test_in_the_queue(server: Running) -> None:
    with slowly(server.stitch):
        first = server.connect(CHAT, asking(n=8, **LONG))
        server.until(lambda: server.active == 8)
        second = server.connect(CHAT, asking(max_tokens=1))
        server.until(lambda: server.served.entry.queue.waiting == 1)
        leave(second)
        server.until(lambda: server.served.entry.queue.waiting == 0)
        assert server.served.entry.queue.running == 8
        leave(first)
        assert server.idle()


def test_before_the_body_has_come(server: Running) -> None:
    client = server.connect(CHAT, {})
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    leave(client)
    assert server.idle()


def test_others_do_not_notice(server: Running) -> None:
    want = server.chat()["choices"]
    with slowly(server.stitch, 0.005):
        client = server.connect(CHAT, asking(stream=True, **LONG))
        client.recv(100)
        got = server.chat()["choices"]
        leave(client)
    assert got == want
