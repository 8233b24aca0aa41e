"""A server on a loopback port in a thread of this process: what the tests of HTTP talk to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from rstitch.api import Stitch, load
from rstitch.engine.engine import InProcessEngine
from rstitch.server.config import ServerConfig
from rstitch.server.keys import Keys
from rstitch.server.running import Server
from rstitch.server.served import Served
from tests.models import assert_clean
from tests.passes import Slow, obeying, running_as

QUESTION = "Mia has 3 boxes with 7 apples each and gives 4 apples away. How many apples are left?"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def asking(text: str = QUESTION, **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"messages": [{"role": "user", "content": text}], **fields}


def used(stats: dict[str, Any]) -> int:
    """Pages that hold something of a request in flight."""
    return sum(int(side["pages"]["used"]) for side in stats["kv"].values())


@dataclass
class Running:
    server: Server
    http: httpx.Client
    thread: threading.Thread

    @property
    def served(self) -> Served:
        return self.server.served

    @property
    def stitch(self) -> Stitch:
        return self.served.stitch

    @property
    def steps(self) -> int:
        return int(self.stitch.engine.stats()["steps"])

    @property
    def active(self) -> int:
        """Answers in flight."""
        return int(self.stitch.engine.stats()["active"])

    @property
    def url(self) -> str:
        return self.server.url

    def chat(self, text: str = QUESTION, **fields: Any) -> dict[str, Any]:
        """The reply; anything but 200 is an error."""
        return self.post(CHAT, asking(text, **fields))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refused(self, path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
        """The error of a request that has to be refused with that status."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        error = dict(answer.json()["error"])
        assert set(error) == {"message", "type", "param", "code"}
        return error

    def chunks(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of a stream that ends as it should."""
        with self.http.stream("POST", path, json={**body, "stream": True}) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert answer.status_code == 200, lines
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert all(line.startswith("data: ") for line in lines)
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def connect(self, path: str, body: dict[str, Any]) -> socket.socket:
        """A request by hand, for clients that behave badly."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
        found = socket.create_connection((host, int(port)), timeout=20)
        found.sendall(head.encode() + content)
        return found

    def metrics(self) -> dict[str, float]:
        """Sample to value."""
        lines = self.http.get("/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if line and line[0] != "#"]
        return {name: float(value) for name, value in pairs}

    def until(self, what: Callable[[], Any], seconds: float = 20.0) -> None:
        """Wait for it."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it does not come to that"
            time.sleep(0.005)

    def idle(self, seconds: float = 10.0) -> bool:
        """Whether nothing is left in the engine, soon."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.stitch.engine.idle and not self.served.door.inside:
                return True
            time.sleep(0.01)
        return False

    def assert_clean(self) -> None:
        assert self.idle()
        engine = self.stitch.engine
        if isinstance(engine, InProcessEngine):
            assert_clean(engine)
        else:
            self.until(lambda: not used(engine.stats()))
        assert not self.served.loop.inboxes
        assert self.served.entry.queue.running == 0


def slowly(stitch: Stitch, seconds: float = 0.02) -> AbstractContextManager[None]:
    """Passes take that long at least: answers that last."""
    return running_as(stitch.engine, Slow(seconds))


def config(**tables: dict[str, Any]) -> ServerConfig:
    """The defaults, on a free port, but for these settings by table."""
    made = ServerConfig()
    tables.setdefault("listen", {})["port"] = 0
    return replace(
        made, **{name: replace(getattr(made, name), **values) for name, values in tables.items()}
    )


@contextmanager
def serving(
    stitch: Stitch | None = None,
    keys: Keys | None = None,
    process: bool = False,
    **tables: dict[str, Any],
) -> Iterator[Running]:
    """A server of that pair, or of the built-in one; it ends with the block. process: its engine
    has one of its own, which obeys `running_as`."""
    with obeying():
        mine = stitch or load(threads=1, max_rows=8, process=process)
    settings = config(**{"engine": {"max_rows": mine.engine.config.max_rows}, **tables})
    server = Server(Served(mine, settings, keys or Keys()))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    until = time.monotonic() + 30
    while not (server.started and server.served.door.warm) and thread.is_alive():
        assert time.monotonic() < until, "the server does not start"
        time.sleep(0.01)
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield Running(server, http, thread)
    if thread.is_alive():
        server.end()
    thread.join(20)
    assert not thread.is_alive(), "the server does not end"
