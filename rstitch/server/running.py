"""The process: load, listen, say where, and end as a server should."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from dataclasses import asdict
from types import FrameType

import uvicorn

from rstitch.api import Stitch, load
from rstitch.server import logs
from rstitch.server.address import refused
from rstitch.server.app import create
from rstitch.server.config import ServerConfig
from rstitch.server.served import Served

INTERRUPTED, FAILED = 130, 1
"""Exit statuses."""
LAST_WORDS = 1
"""Seconds that connections get once there is nothing more to wait for."""
PATIENCE = 4.0
"""Seconds after the loss of a side at which the process ends, whatever still hangs."""
MAX_HEADERS = 32 * 1024
"""Bytes of a request's line and headers."""


def open_pair(config: ServerConfig) -> Stitch:
    """Load what the configuration names."""
    models = config.models
    suffix = {"slm": models.slm_suffix, "llm": models.llm_suffix}
    return load(
        models.pair,
        slm=models.slm,
        llm=models.llm,
        tau=models.tau,
        suffix={side: text for side, text in suffix.items() if text is not None},
        trust_remote_code=models.trust_remote_code,
        process=models.engine_process,
        **asdict(config.engine),
    )


class Server(uvicorn.Server):
    """The first signal lets it finish what it has begun, the second ends it at once. Where a side
    is lost it tells everybody, and ends with a status that says so."""

    def __init__(self, served: Served) -> None:
        listen = served.config.listen
        super().__init__(
            uvicorn.Config(
                create(served),
                host=listen.host,
                port=listen.port,
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=LAST_WORDS,
                server_header=False,
                access_log=False,
                http="h11",  # httptools, where somebody has installed it, knows no such limit
                h11_max_incomplete_event_size=MAX_HEADERS,
            )
        )
        self.served = served
        self.status = 0
        self._ending: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        served.on_lost = self._lost

    @property
    def url(self) -> str:
        """Where it listens; the port is known once it does."""
        host = self.served.config.listen.host
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            sys.stderr.write(f"rstitch: serving {self.served.names.pair} at {self.url}\n")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        again = self.status == INTERRUPTED or self.served.door.draining
        if sig == signal.SIGINT:
            self.status = INTERRUPTED
        if again or self._loop is None:
            os._exit(self.status or FAILED)
        self.end()

    def end(self) -> None:
        """From any thread: let nobody in, finish what is in flight within the grace, and end."""
        assert self._loop is not None, "it is not running"
        self.served.door.draining = True
        self._loop.call_soon_threadsafe(self._begin_end)

    def _begin_end(self) -> None:
        self._ending = self._ending or asyncio.create_task(self._end())

    async def _end(self) -> None:
        if not await self.served.door.drain():
            await asyncio.to_thread(self.served.loop.engine.close)
        self.should_exit = True

    def _lost(self, reason: str) -> None:
        """Called on the event loop. The device may hang, so nothing waits for it for long."""
        if self.status == FAILED:
            return
        self.status = FAILED
        sys.stderr.write(f"rstitch: {reason}; ending\n")
        watch = threading.Timer(PATIENCE, os._exit, (FAILED,))
        watch.daemon = True
        watch.start()
        self._ending = asyncio.create_task(self._close(watch))

    async def _close(self, watch: threading.Timer) -> None:
        await asyncio.to_thread(self.served.loop.engine.close)
        self.should_exit = True
        watch.cancel()


def run(served: Served, sockets: list[socket.socket]) -> int:
    """Serve at these until something ends it; the exit status."""
    logs.install(served.config.listen.log_format)
    server = Server(served)
    try:
        server.run(sockets)
    except OSError as error:  # another has taken the port too, and listened first
        raise refused(served.config.listen.port, error) from None
    if not server.started:
        return FAILED
    return server.status
