"""The `Engine` seam on this side of the pipe: what may be asked is checked here, by what is known
of the models; everything else happens there, and a thread reads what comes of it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.engine import checks
from rstitch.engine.faults import Faults
from rstitch.engine.marks import Marks
from rstitch.engine.outbox import Outbox
from rstitch.engine.request import Request, sample_ids
from rstitch.engine.row_limits import RowLimits
from rstitch.engine.vocabulary import Translation
from rstitch.errors import Closed, SideLost
from rstitch.remote import asked
from rstitch.remote.side import RemoteSide
from rstitch.remote.wire import Plain, Status, Told, caused, unpacked
from rstitch.text import Tokenizer
from rstitch.types import Event, Failed, Side, Token

PATIENCE = 0.02
"""Seconds that `step` waits for an event; whoever wants the engine meanwhile waits as long."""


class RemoteEngine:
    """Everything may be called from any thread."""

    def __init__(
        self,
        sides: Mapping[Side, RemoteSide],
        eos_token_ids: Mapping[Side, frozenset[int]],
        config: EngineConfig,
        tokenizer: Mapping[Side, Tokenizer],
        translation: Translation | None = None,
        marks: Marks | None = None,
    ) -> None:
        """sides: of one process. Which tokens end a text is known there."""
        self.runners, self.config, self.tokenizers = dict(sides), config, tokenizer
        self.translation, self.marks = translation, marks
        self.process = next(iter(sides.values())).process
        self._limits = RowLimits(
            self.runners,
            {side: one.shape.limit for side, one in sides.items()},
            {side: one.shape.bytes for side, one in sides.items()},
        )
        self._outbox = Outbox()
        self._faults = Faults()
        self._status = self.process.status
        self._ids = itertools.count()
        self._open: set[str] = set()
        """Answers whose end has not come."""
        self._opening = threading.Lock()
        """An answer is open before the process ends, or refused after."""
        self._measured: Future[LinearCosts] = Future()
        self._measuring = threading.Lock()
        """One asks at a time, since one answer comes to each."""
        self._closed = False
        self._reader = threading.Thread(target=self._read, name="rstitch-events", daemon=True)
        self._reader.start()

    # -- the seam -------------------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raise BadRequest for a request that can never be served, with the numbers."""
        if self._closed:
            raise Closed("the engine is closed; load the pair again")
        self._faults.check(request)
        checks.check(request, self.tokenizers, self._limits, self.marks)

    def submit(self, request: Request) -> str:
        """Accept a request. Raises BadRequest when it can never be served, with the numbers."""
        self.check(request)
        data, name = asked.dumps(request), f"r{next(self._ids)}"
        with self._opening:
            self._faults.check(request)
            self._open.update(sample_ids(name, request.n))
        self._send("submit", name, request.n, request.policy.name, time.perf_counter(), data)
        return name

    def cancel(self, request_id: str) -> None:
        self._send("cancel", request_id)

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens, until `close`. Raises SideLost where the process has ended."""
        return self._outbox.stream()

    def step(self) -> list[Event]:
        """What has happened, or the first that does within a moment. Empty when idle."""
        return [] if self.idle else self._outbox.take(PATIENCE)

    @property
    def idle(self) -> bool:
        """Every answer's end has been taken."""
        return not (self._open or self._outbox)

    def stats(self) -> dict[str, Any]:
        """As the in-process engine's, of a moment ago; an answer that it had not begun then is
        queued."""
        stats, lost = self._status.stats, self._faults.lost
        queued = max(stats["queued"], len(self._open) - stats["active"])
        told = {side.label: reason for side, reason in lost.items()}
        return {**stats, "queued": queued, "lost": told}

    def seconds(self, side: Side, rows: int) -> float:
        """Of a decode step of so many rows, as seen lately; 0 where the side has never run."""
        known = self._status.seconds[side]
        return known[min(max(rows, 1), len(known)) - 1]

    def reading(self, side: Side) -> float:
        """Of each token that a row has to catch up on, beside its step, as seen lately."""
        return self._status.reading[side]

    def measure(self) -> LinearCosts:
        """Measure what a step costs, while idle."""
        with self._measuring:
            with self._opening:
                self._measured = Future()
                if self._faults.lost:
                    raise SideLost(next(iter(self._faults.lost.values())))
            self._send("measure")
            return self._measured.result()

    def close(self) -> None:
        """Cancel everything, end the process and `events`."""
        if not self._closed:
            self._closed = True
            self._send("close")
            self.process.wait()
        self._reader.join()

    # -- what comes of it -----------------------------------------------------------------------

    def _send(self, *message: Any) -> None:
        """Where the process has ended, the reader hears of it too."""
        with suppress(OSError):
            self.process.send(message)

    def _read(self) -> None:
        try:
            while True:
                what, *values = self.process.receive()
                if what == "events":
                    self._take(*values)
                elif what == "measured":
                    self._know(*values)
                else:
                    self._outbox.close(caused(*values[0]))
        except (EOFError, OSError):
            self._end(self.process.ending())
        except Exception as error:  # nobody else would tell those who wait
            self.process.ending()
            kind = type(error).__name__
            self._end(f"what the engine's process said cannot be read: {kind}: {error}")

    def _take(self, plain: list[Plain], status: Status | None) -> None:
        if status is not None:
            self._status = status
            lost = status.stats["lost"]
            self._faults.lost.update({s: lost[s.label] for s in Side if s.label in lost})
        events = [unpacked(one) for one in plain]
        self._outbox.put(events)
        self._open.difference_update(
            event.request for event in events if not isinstance(event, Token)
        )

    def _know(self, costs: LinearCosts, failed: Told | None) -> None:
        if failed is None:
            self._measured.set_result(costs)
        else:
            self._measured.set_exception(caused(*failed))

    def _end(self, told: str) -> None:
        """The process is gone. Nobody waits on: what it had not ended has failed."""
        error = Closed("the engine was closed") if self._closed else SideLost(told)
        with self._opening:
            self._faults.lost = dict.fromkeys(self.runners, told)
            names = sorted(self._open)
            if not self._measured.done():
                self._measured.set_exception(error)
        self._outbox.put([Failed(name, error) for name in names])
        self._open.clear()
        self._outbox.close(None if self._closed else error)
