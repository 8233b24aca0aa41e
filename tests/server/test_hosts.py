"""By which names a server may be asked."""

from __future__ import annotations

import socket

import httpx
import pytest

from rstitch.server.hosts import allowed, name_of
from tests.server.serving import Running


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("evil.example.", "evil.example"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert name_of(header) == name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_who_listens_on_this_machine_alone_is_asked_by_its_own_names(host: str) -> None:
    names = allowed(host, ())
    assert names is not None and {"localhost", "127.0.0.1", "::1", host} == names


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "gpu.example.org"])
def test_what_other_machines_call_it_is_not_known(host: str) -> None:
    assert allowed(host, ()) is None
    assert allowed(host, ("GPU.example.org",)) == {
        "gpu.example.org", "localhost", "127.0.0.1", "::1", host,
    }  # fmt: skip
    assert allowed(host, ("*",)) is None


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/chat/completions", "/metrics"])
def test_a_page_that_points_its_own_name_here_gets_nothing(server: Running, path: str) -> None:
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        answer = server.http.get(path, headers={"host": host})
        assert answer.status_code == 421, host
        assert answer.json()["error"]["code"] == "unknown_host"
        assert "--hosts" in answer.json()["error"]["message"]
    assert server.http.get("/health", headers={"host": "LocalHost:1"}).status_code == 200


def test_a_probe_may_name_no_host(server: Running) -> None:
    """HTTP/1.0 has none; a page cannot leave it out."""
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as line:
        line.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 200 " in line.recv(100)
