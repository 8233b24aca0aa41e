"""How a server ends: it lets nobody in, finishes what it has begun, and says how it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest

from tests.server.serving import CHAT, Running, asking, serving, slowly

LONG: dict[str, Any] = {"temperature": 2.0, "seed": 3, "max_tokens": 60}


def asked(running: Running, body: dict[str, Any]) -> tuple[threading.Thread, list[httpx.Response]]:
    """Ask in another thread; the engine has it when this returns."""
    found: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: found.append(running.http.post(CHAT, json=body)))
    thread.start()
    running.until(lambda: running.active)
    return thread, found


def test_what_it_has_begun_is_finished_and_nobody_gets_in() -> None:
    with serving() as running:
        with slowly(running.stitch, 0.02):
            thread, found = asked(running, asking(**LONG))
            assert running.http.get("/ready").status_code == 200
            running.server.end()
            refused = running.http.post(CHAT, json=asking())
            assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining"
            assert int(refused.headers["retry-after"]) == 30
            assert running.http.get("/ready").status_code == 503
            assert running.http.get("/health").status_code == 200
            assert running.metrics()['rstitch_refused_total{reason="draining"}'] == 1
            thread.join()
        assert found[0].status_code == 200
        assert found[0].json()["usage"]["completion_tokens"] > 20
        running.thread.join(10)
        assert not running.thread.is_alive() and running.server.status == 0


@pytest.mark.parametrize("stream", [True, False])
def test_what_lasts_longer_than_the_grace_is_cut_short_with_an_error(stream: bool) -> None:
    with serving(limits={"drain_seconds": 0.2}) as running:
        with slowly(running.stitch, 0.05):
            thread, found = asked(running, asking(**LONG, stream=stream))
            running.server.end()
            thread.join()
        (answer,) = found
        if stream:
            last = [line for line in answer.text.splitlines() if line][-1]
            assert answer.status_code == 200 and '"code":"unavailable"' in last
        else:
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "unavailable"
        running.thread.join(10)
        assert running.server.status == 0


@pytest.mark.parametrize(
    ("name", "status"),
    [("SIGTERM", 0), pytest.param("SIGINT", 130, marks=pytest.mark.slow)],
)
def test_signals(name: str, status: int) -> None:
    """The command itself: one line when it serves, JSON lines of what it did, its exit status."""
    command = [sys.executable, "-m", "rstitch", "serve", "--port", "0", "--log-format", "json"]
    secret = "RSTITCH_API_KEYS"
    environ = {**os.environ, "OMP_NUM_THREADS": "1", secret: "ann=rs-0123456789abcdef"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("rstitch: serving builtin at http://127.0.0.1:"), line
            url = line.split()[-1]
            key = {"authorization": "Bearer rs-0123456789abcdef"}
            body = asking("Do not log this.", max_tokens=3)
            assert httpx.post(url + CHAT, json=body, headers=key, timeout=60).status_code == 200
            process.send_signal(getattr(signal, name))
            rest = process.stderr.read()
            assert process.wait(20) == status
        finally:
            process.kill()
    assert '"event": "request"' in rest and '"key": "ann"' in rest
    assert "Do not log this" not in rest and "0123456789abcdef" not in rest
    assert "Traceback" not in rest


def test_who_still_waits_for_a_turn_when_the_grace_is_over_may_ask_elsewhere() -> None:
    """503, as for those who had theirs: the request is not wrong."""
    with serving(limits={"drain_seconds": 0.2}, engine={"max_rows": 1}) as running:
        with slowly(running.stitch, 0.05):
            first, _ = asked(running, asking(**LONG))
            found: list[httpx.Response] = []
            second = threading.Thread(
                target=lambda: found.append(httpx.post(running.url + CHAT, json=asking()))
            )
            second.start()
            running.until(lambda: running.served.entry.queue.waiting)
            running.server.end()
            first.join()
            second.join()
    assert found[0].status_code == 503 and found[0].json()["error"]["code"] == "unavailable"
    assert int(found[0].headers["retry-after"]) >= 1
