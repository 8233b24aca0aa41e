"""The process: load, listen, say where, and end as a server should."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from types import FrameType

import uvicorn

from rstitch.api import Stitch, load
from rstitch.server.app import create
from rstitch.server.config import ServerConfig
from rstitch.server.served import Served

INTERRUPTED = 130


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
        **asdict(config.engine),
    )


def run(served: Served) -> int:
    """Serve until somebody ends it; the exit status."""
    server = Server(served)
    server.run()
    return server.status


class Server(uvicorn.Server):
    """Ends when what it has begun is answered, at the first signal; at once at the second."""

    def __init__(self, served: Served, ready: Callable[[str], None] | None = None) -> None:
        listen = served.config.listen
        super().__init__(
            uvicorn.Config(
                create(served),
                host=listen.host,
                port=listen.port,
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        self.served = served
        self.status = 0

    async def startup(self, sockets: list[object] | None = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]  # passed on
        if self.started:
            sys.stderr.write(f"rstitch: serving {self.served.names.pair} at {self.url}\n")

    @property
    def url(self) -> str:
        """Where it listens; the port is known once it does."""
        host = self.served.config.listen.host
        port = self.servers[0].sockets[0].getsockname()[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT:
            self.status = INTERRUPTED
        if self.should_exit:
            os._exit(self.status or 1)
        self.should_exit = True
