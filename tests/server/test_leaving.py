"""A client that goes away: what it asked for is given up within one step, wherever it was."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.server.serving import CHAT, Running, asking, slowly

LONG: dict[str, Any] = {"temperature": 2.0, "max_tokens": 900}


@pytest.fixture
def stops(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The engine's count of steps whenever something was cancelled."""
    found: list[int] = []
    cancel = server.stitch.engine.cancel

    def counting(name: str) -> None:
        found.append(server.steps)
        cancel(name)

    monkeypatch.setattr(server.stitch.engine, "cancel", counting)
    return found


def leave(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_RDWR)
    client.close()


@pytest.mark.parametrize("stream", [True, False])
def test_in_the_middle_of_an_answer(server: Running, stops: list[int], stream: bool) -> None:
    with slowly(server.stitch):
        client = server.connect(CHAT, asking(stream=stream, n=2, **LONG))
        if stream:
            assert b"200 OK" in client.recv(4096)
        server.until(lambda: server.stitch.engine.scheduler.active)
        leave(client)
        assert server.idle()
    assert len(stops) == 2
    assert server.steps <= stops[0] + 2, "the step under way, and the one that takes it out"


def test_in_the_queue(server: Running) -> None:
    with slowly(server.stitch):
        first = server.connect(CHAT, asking(n=8, **LONG))
        server.until(lambda: len(server.stitch.engine.scheduler.active) == 8)
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
