"""The engine's process from outside: started with what to load, and ended."""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from rstitch.errors import SideLost
from rstitch.remote.wire import Shape, Status, caused
from rstitch.types import Side

CHILD = "rstitch.remote.child"
"""The module that it runs."""
PATIENCE = 10.0
"""Seconds in which it has to end by itself: a step of a large model may be under way."""


@dataclass(frozen=True, slots=True)
class Started:
    """An interpreter that waits to be told what to load, and this end of its pipe."""

    process: subprocess.Popen[bytes]
    pipe: Connection

    @classmethod
    def now(cls) -> Started:
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", CHILD, str(end)],
                stdin=subprocess.DEVNULL,
                pass_fds=[end],
                process_group=0,  # a terminal's Ctrl-C is for whoever started it
            )
        return cls(process, Connection(ours.detach()))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


_ahead: deque[Started] = deque()


@contextmanager
def ahead() -> Iterator[None]:
    """Start the interpreter of the next `Process` already, which imports torch while this one does.
    If none has taken it at the end, it is ended."""
    started = Started.now()
    _ahead.append(started)
    try:
        yield
    finally:
        if started in _ahead:
            _ahead.remove(started)
            started.end()


class Process:
    """Begins with its start. `close`, or let it go: it ends when its pipe is closed."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        """arguments: of `rstitch.load`. Raises what that raises there, and SideLost where the
        process ends meanwhile."""
        started = _ahead.popleft() if _ahead else Started.now()
        self._process, self._pipe = started.process, started.pipe
        self._unsent: deque[bytes] = deque()
        self._sending = threading.Lock()
        try:
            self.shapes, self.status = self._loaded(arguments)
        except BaseException:
            self.kill()
            raise

    def _loaded(self, arguments: Mapping[str, Any]) -> tuple[Mapping[Side, Shape], Status]:
        try:
            self.send(dict(arguments))
            what, *found = self.receive()
        except (EOFError, OSError):
            raise SideLost(f"while the pair was loaded, {self.ending()}") from None
        if what == "failed":
            raise caused(*found[0])
        shapes, status = found
        return shapes, status

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Any) -> None:
        """From any thread, and from a finaliser in the middle of another call: whoever is sending
        sends this too. Raises OSError where it has ended."""
        self._unsent.append(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        while self._unsent and self._sending.acquire(blocking=False):
            try:
                while self._unsent:
                    self._pipe.send_bytes(self._unsent.popleft())
            finally:
                self._sending.release()

    def receive(self) -> Any:
        """For one thread. Raises EOFError or OSError where it has ended."""
        return pickle.loads(self._pipe.recv_bytes())

    def ending(self) -> str:
        """How it ended, for a message; it is ended if it has not."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)  # its pipe may be closed a moment before it is gone
        status = self._process.poll()
        self.kill()
        if status is None or status >= 0:
            return f"the engine's process ended with status {status or 0}"
        name = signal.Signals(-status).name
        why = ", as when memory runs out" if name == "SIGKILL" else ""
        return f"the engine's process was ended by {name}{why}"

    def wait(self) -> None:
        """It was told to end; where it does not, it is ended."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with self._sending:  # who is sending has been told by now that nobody reads
            self._pipe.close()
