"""The server and its engine's process, as the command starts them: whichever of them ends, the
other does too, and whoever waits is told.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.served import Server, serve
from tests.server.serving import CHAT, asking

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="looks at processes as Linux shows them"
)
SOON = 20.0
"""Seconds; on an idle machine it takes two. How long it may be on one is `running.PATIENCE`."""
LONG = asking(temperature=2.0, seed=3, max_tokens=300)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve("--threads", "1") as found:
        yield found


def engine(server: Server) -> int:
    own, *others = server.processes
    assert own == server.process.pid and len(others) == 1
    return others[0]


def begun(server: Server) -> tuple[threading.Thread, list[str]]:
    """A stream in another thread, of which some has come; its lines."""
    lines: list[str] = []

    def read() -> None:
        body = {**LONG, "stream": True}
        with httpx.stream("POST", server.url + CHAT, json=body, timeout=60) as answer:
            lines.extend(line for line in answer.iter_lines() if line)

    thread = threading.Thread(target=read)
    thread.start()
    until = time.monotonic() + 20
    while server.metrics()['rstitch_tokens_total{side="slm"}'] < 5:
        assert time.monotonic() < until, "it does not begin"
    return thread, lines


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_without_its_engine_a_server_ends_and_says_so(server: Server) -> None:
    thread, lines = begun(server)
    os.kill(engine(server), signal.SIGKILL)
    assert server.process.wait(SOON) == 1
    thread.join()
    assert '"code":"side_lost"' in lines[-1] and "[DONE]" not in lines[-1]
    assert b"the engine's process was ended by SIGKILL, as when memory runs out; e" in server.said


def test_so_does_one_that_has_nothing_to_do(server: Server) -> None:
    os.kill(engine(server), signal.SIGKILL)
    assert server.process.wait(SOON) == 1
    assert b"the engine's process was ended by SIGKILL" in server.said
    assert b"Traceback" not in server.said


def test_without_its_server_an_engine_ends(server: Server) -> None:
    pid = engine(server)
    server.kill()
    until = time.monotonic() + SOON
    while not gone(pid):
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.01)


def test_a_signal_for_both_lets_the_server_finish_what_it_has_begun(server: Server) -> None:
    pid = engine(server)
    thread, lines = begun(server)
    for one in (pid, server.process.pid):
        os.kill(one, signal.SIGTERM)
    thread.join()
    assert lines[-1] == "data: [DONE]"
    assert server.process.wait(20) == 0 and gone(pid)
    assert b"Traceback" not in server.said


def test_one_process_where_that_is_asked_for() -> None:
    with serve("--threads", "1", "--no-engine-process") as server:
        assert server.processes == [server.process.pid]
        answer = httpx.post(server.url + CHAT, json=asking(max_tokens=3), timeout=60)
        assert answer.status_code == 200
