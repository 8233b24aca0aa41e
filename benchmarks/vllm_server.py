"""vLLM's own OpenAI-compatible server, one per side, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx

from rstitch.types import Side
from rstitch.vllm.starting import starting

PATIENCE = 120.0
"""Seconds in which it has to be ready."""
LEAVE = 30.0
"""Seconds in which it has to be gone."""


@dataclass(slots=True)
class Server:
    home: Path
    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    client: httpx.AsyncClient = field(init=False)
    """Keeps its connection; made where it is used, since it belongs to an event loop."""

    def __post_init__(self) -> None:
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    def wait(self) -> None:
        """Until it is ready. Raises RuntimeError with its last words where it never is."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        self.log.seek(0)
        raise RuntimeError(f"vLLM's server is not ready: {self.log.read().decode()[-2000:]}")

    async def complete(self, ids: list[int], most: int) -> list[int]:
        """Greedily, so many tokens whatever they are."""
        asked = {
            "model": str(self.home), "prompt": ids, "max_tokens": most, "temperature": 0.0,
            "ignore_eos": True, "return_token_ids": True,
        }  # fmt: skip
        reply = await self.client.post("/v1/completions", json=asked)
        reply.raise_for_status()
        found: list[int] = reply.json()["choices"][0]["token_ids"]
        return found

    async def close(self) -> None:
        await self.client.aclose()

    def stop(self) -> None:
        """With all that it started: the engine is a process of its own."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(LEAVE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def servers(homes: dict[Side, Path], block: int) -> Iterator[dict[Side, Server]]:
    """With the prefix cache on, and as an engine of ours would be started otherwise."""
    found: dict[Side, Server] = {}
    with tempfile.TemporaryDirectory() as logs, starting("cpu"):
        try:
            for side, home in homes.items():
                found[side] = _started(home, block, Path(logs) / side.label)
            for server in found.values():
                server.wait()
            yield found
        finally:
            for server in found.values():
                server.stop()


def _started(home: Path, block: int, log: Path) -> Server:
    port = _free()
    words = {
        "model": home, "port": port, "host": "127.0.0.1", "dtype": "float32", "block-size": block,
        "max-model-len": 1024, "max-num-seqs": 4, "kv-cache-memory-bytes": 2**28,
    }  # fmt: skip
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += ["--enable-prefix-caching", *(f"--{name}={value}" for name, value in words.items())]
    file = log.open("w+b")
    process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    return Server(home, port, process, file)


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
