"""The `Engine` seam on an engine in another process."""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from rstitch.engine import checks
from rstitch.engine.request import Request, sample_ids
from rstitch.remote.wire import unpacked
from rstitch.types import Event, Side, Token
from rstitch.vllm.outbox import Outbox


@dataclass
class Shape:
    vocab_size: int
    max_length: int
    token_bytes: int
    limit: int
    bytes: int


class Process:
    def __init__(self, arguments: dict[str, Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rstitch.remote.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], process_group=0,
            )
        self.pipe = Connection(ours.detach())
        self.pipe.send_bytes(pickle.dumps(arguments))
        kind, found = pickle.loads(self.pipe.recv_bytes())
        if kind == "failed":
            raise found
        self.shapes = {side: Shape(*shape) for side, shape in found.items()}


class Room:
    def __init__(self, runners):
        self.runners = runners

    def check(self, side, prompt):
        pass


class RemoteEngine:
    def __init__(self, process, config, tokenizers, translation=None, marks=None):
        self.process, self.config, self.tokenizers = process, config, tokenizers
        self.translation, self.marks = translation, marks
        self.runners = process.shapes
        self.room = Room(self.runners)
        self.outbox = Outbox()
        self.ids = itertools.count()
        self.open: set[str] = set()
        self.closed = False
        self.status: Any = ({"active": 0, "queued": 0, "steps": 0, "lost": {}, "waiting": {"slm": 0, "llm": 0}, "kv": {}}, {})
        self.sending = threading.Lock()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        n = int(os.environ.get("PROTO_NICE", 0))
        if n:
            for tid in os.listdir("/proc/self/task"):
                os.setpriority(os.PRIO_PROCESS, int(tid), n)
        recv = self.process.pipe.recv_bytes
        try:
            while True:
                _, plain, status = pickle.loads(recv())
                if status is not None:
                    self.status = status
                events = [unpacked(one) for one in plain]
                self.outbox.put(events)
                for event in events:
                    if not isinstance(event, Token):
                        self.open.discard(event.request)
        except (EOFError, OSError):
            self.outbox.close()

    def put(self, *message):
        with self.sending:
            self.process.pipe.send_bytes(pickle.dumps(message))

    def check(self, request):
        checks.check(request, self.tokenizers, self.room, self.marks)

    def submit(self, request: Request) -> str:
        self.check(request)
        name = f"r{next(self.ids)}"
        self.open.update(sample_ids(name, request.n))
        self.put("submit", name, time.perf_counter(), pickle.dumps(request))
        return name

    def cancel(self, name):
        self.put("cancel", name)

    def events(self) -> AsyncIterator[Event]:
        return self.outbox.stream()

    def step(self):
        return self.outbox.take(0.0 if self.idle else 0.02)

    @property
    def idle(self):
        return not self.open and not len(self.outbox)

    def stats(self):
        return self.status[0]

    def seconds(self, side, rows):
        table = self.status[1].get(side)
        return table[min(rows, len(table)) - 1] if table else 0.0

    def close(self):
        if not self.closed:
            self.closed = True
            self.put("close")
            self.thread.join()
            self.process.process.wait()
