"""`rstitch serve` as a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"
LISTENING = re.compile(rb"serving \S+ at http://\S+:(\d+)")
TASKS = re.compile(r"tasks=(\d+)")
SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)
PATIENCE = 120.0
"""Seconds in which it has to be ready."""


class Server:
    """Of the built-in pair. `log` is its stderr."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.process, self.log = process, log
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def said(self) -> bytes:
        return Path(self.log.name).read_bytes()

    def wait(self) -> None:
        """Until it is ready. Raises RuntimeError with what it said where it never is."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            found = LISTENING.search(self.said)
            if found:
                self.port = int(found[1])
                if self._ready():
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the server is not ready: {self.said.decode()[-2000:]}")

    def _ready(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.url}/ready", timeout=5).status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, such as `rstitch_tokens_total{side="slm"}`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            return {name: float(value) for name, value in SAMPLE.findall(answer.read().decode())}

    def kill(self) -> None:
        """As nobody can prepare for."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    # -- what the process holds -----------------------------------------------------------------

    @property
    def processes(self) -> list[int]:
        """Its own, and that of its engine."""
        lists = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [self.process.pid, *(int(one) for file in lists for one in file.read_text().split())]

    def resident(self) -> int:
        """Bytes."""
        pages = [Path(f"/proc/{one}/statm").read_text().split()[1] for one in self.processes]
        return sum(map(int, pages)) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Seconds so far, of all threads."""
        return sum(map(_cpu, self.processes))

    def http_cpu(self) -> float:
        """The same without the engine."""
        return _cpu(self.process.pid)

    def handles(self) -> int:
        """Open files and sockets."""
        return sum(len(os.listdir(f"/proc/{one}/fd")) for one in self.processes)

    def tasks(self) -> int:
        """asyncio's; for a server that was started with `watched`."""
        before = len(TASKS.findall(self.said.decode()))
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = TASKS.findall(self.said.decode())
            if len(found) > before:
                return int(found[-1])
            time.sleep(0.01)
        raise RuntimeError("the server does not count its tasks")


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serve(*options: str, port: int = 0, keys: str = "", watched: bool = False) -> Iterator[Server]:
    """One that is ready. keys: as RSTITCH_API_KEYS has them. watched: it can count its tasks."""
    module = "benchmarks.tasks" if watched else "rstitch"
    command = [sys.executable, "-m", module, "serve", "--port", str(port), *options]
    environ = {**os.environ, "RSTITCH_API_KEYS": keys}
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log)
        server = Server(process, log)
        try:
            server.wait()
            yield server
        finally:
            server.kill()
