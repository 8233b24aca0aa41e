"""The engine's process from within: what is asked comes in by a thread of its own, and what happens
goes out by the one that loads and steps, so that no step waits for another thread's turn.

That is the process's first. All that computes happens in it (`rstitch.engine.pump` says why).
"""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from rstitch.api import load
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.pump import Pump
from rstitch.engine.request import sample_ids
from rstitch.remote import asked
from rstitch.remote.wire import Shape, Status, packed, told
from rstitch.types import Event, Failed

ORPHANED = FAILED = 1
"""Exit status where nobody is there any more, or nobody listens, whatever still runs here."""
FRESH = 0.1
"""Seconds that a status is good for while there is work; its end always brings one."""


class Pipe:
    """Messages are (what, values). Where the other end is closed, so is this process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()

    def send(self, *message: Any) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._pipe.send_bytes(data)
        except OSError:
            os._exit(ORPHANED)

    def receive(self) -> Any:
        try:
            return pickle.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(ORPHANED)


def serve(connection: Connection) -> None:
    """Load what the first message names, and run it until told to close."""
    pipe = Pipe(connection)
    try:
        stitch = load(**pipe.receive())
    except Exception as error:
        pipe.send("failed", told(error))
        return
    with stitch:
        pipe.send("ready", shapes(stitch.in_process), status(stitch.in_process))
        Serving(pipe, stitch.in_process).run()


def shapes(engine: InProcessEngine) -> dict[Any, Shape]:
    limits = engine.rows.row_limits
    return {
        side: Shape(
            one.vocab_size,
            one.max_length,
            one.token_bytes,
            limits.limits[side],
            limits.bytes[side],
        )
        for side, one in engine.runners.items()
    }


def status(engine: InProcessEngine) -> Status:
    counts = range(1, engine.config.max_rows + 1)
    seconds = {side: [engine.seconds(side, n) for n in counts] for side in engine.runners}
    reading = {side: engine.reading(side) for side in engine.runners}
    return Status(engine.stats(), seconds, reading)


class Serving:
    """`run` until told to close."""

    def __init__(self, pipe: Pipe, engine: InProcessEngine) -> None:
        self.pipe, self.engine = pipe, engine
        self._fresh = 0.0
        """Until then the last status is good."""
        self._quiet = True
        """The engine was idle then."""
        self._lost = 0
        """Sides that it said were lost."""
        self._measuring = False
        """It was asked what a step costs."""
        self._closing = threading.Event()
        self._pump = Pump(self._steps, lambda: engine.idle, self._tell)

    def run(self) -> None:
        threading.Thread(target=self._listen, name="rstitch-asked", daemon=True).start()
        self._pump.run()
        self._closing.wait()
        self.engine.close()
        self._send(self.engine.step())

    def _listen(self) -> None:
        """Until this process ends, which is at once where the other one has: to close waits for
        the step under way, and that may hang."""
        try:
            while True:
                what, *values = self.pipe.receive()
                getattr(self, f"_{what}")(*values)
                self._pump.wake()
        except BaseException:  # a process that hears nothing would never end
            traceback.print_exc()
            os._exit(FAILED)

    # -- what is asked --------------------------------------------------------------------------

    def _submit(self, name: str, n: int, policy: str, accepted: float, data: bytes) -> None:
        """What the other side has checked; but a model may be lost by now."""
        try:
            request = asked.loads(data, policy)
            self.engine.check(request)
            self.engine.accept(request, name, accepted)
        except Exception as error:  # a policy's own code may fail in any way
            self._send([Failed(one, error) for one in sample_ids(name, n)])

    def _cancel(self, name: str) -> None:
        self.engine.cancel(name)

    def _measure(self) -> None:
        self._measuring = True
        if self._pump.error is not None:
            self._measured()

    def _close(self) -> None:
        self._closing.set()

    # -- what happens ---------------------------------------------------------------------------

    def _steps(self) -> None:
        self._send(self.engine.steps())

    def _tell(self) -> None:
        """After steps, when there are none, and when they have failed."""
        if self._pump.error is not None:
            self.pipe.send("broken", told(self._pump.error))
            self._measured()
        elif self._closing.is_set():
            self._pump.stop()
        elif self._measuring:
            self._measured()
        elif self.engine.idle and not self._quiet:
            self._send([])

    def _measured(self) -> None:
        """Where it was asked."""
        if not self._measuring:
            return
        self._measuring = False
        try:
            if self._pump.error is not None:
                raise self._pump.error
            found, error = self.engine.measure(), None
        except Exception as failed:
            found, error = None, told(failed)
        self._send([])
        self.pipe.send("measured", found, error)

    def _send(self, events: list[Event]) -> None:
        now, news = time.monotonic(), None
        self._quiet, lost = self.engine.idle, len(self.engine.faults.lost)
        if self._quiet or lost > self._lost or now > self._fresh:
            news, self._fresh, self._lost = status(self.engine), now + FRESH, lost
        self.pipe.send("events", [packed(event) for event in events], news)
