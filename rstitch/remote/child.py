"""The process: loads the pair, runs its engine, and passes on what happens. Started by `process`.

    python -m rstitch.remote.child FD

The steps run in the engine's pump; this thread reads what is asked. It ends with the one who
started it, however that one ends: the pipe is closed then.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from rstitch.engine.engine import BURST
from rstitch.engine.pump import Pump
from rstitch.engine.request import sample_ids
from rstitch.errors import RStitchError
from rstitch.remote.wire import packed
from rstitch.types import Event, Failed, Side

FRESH = 0.1


class Serving:
    def __init__(self, pipe: Connection, engine: Any) -> None:
        self.pipe, self.engine = pipe, engine
        self.sending = threading.Lock()
        self.last = 0.0
        self.told = True
        self.pump = Pump(self.steps, lambda: engine.idle, self.tell)

    def steps(self) -> None:
        engine, until = self.engine, time.perf_counter() + BURST
        events = engine.step()
        while time.perf_counter() < until and not engine.idle:
            events += engine.step()
        self.send(events)

    def send(self, events: list[Event]) -> None:
        now = time.monotonic()
        status = None
        if now - self.last > FRESH or any(isinstance(e, Failed) for e in events):
            status, self.last = self.status(), now
        self.told = status is not None
        self.put("events", [packed(event) for event in events], status)

    def tell(self) -> None:
        if self.engine.idle and not self.told:
            self.told = True
            self.put("events", [], self.status())

    def status(self) -> Any:
        engine = self.engine
        return engine.stats(), {
            side: [engine.seconds(side, rows) for rows in range(1, engine.config.max_rows + 1)]
            for side in engine.runners
        }

    def put(self, *message: Any) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        with self.sending:
            self.pipe.send_bytes(data)

    def run(self) -> None:
        while True:
            kind, *rest = pickle.loads(self.pipe.recv_bytes())
            if kind == "submit":
                name, accepted, data = rest
                request = pickle.loads(data)
                self.engine.check(request)
                self.engine.accept(request, name, accepted)
            elif kind == "cancel":
                self.engine.cancel(*rest)
            elif kind == "close":
                self.engine.close()
                self.send(self.engine.step())
                return
            self.pump.wake()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    arguments = pickle.loads(pipe.recv_bytes())
    from rstitch.api import load

    try:
        stitch = load(**arguments)
    except RStitchError as error:
        pipe.send_bytes(pickle.dumps(("failed", error)))
        return
    engine = stitch.in_process
    shapes = {
        side: (r.vocab_size, r.max_length, r.token_bytes, engine.rows.limits[side], engine.rows.bytes[side])
        for side, r in engine.runners.items()
    }
    pipe.send_bytes(pickle.dumps(("ready", shapes)))
    try:
        Serving(pipe, engine).run()
    except (EOFError, OSError):
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
