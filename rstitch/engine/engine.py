"""Both models in this process, behind the seam: what may be called from any thread.

`submit` checks a request and leaves its answers with the decode loop, whose steps are run by
whoever calls `step`, or by a thread of their own while somebody reads `events`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts, ObservedCosts
from rstitch.engine import checks
from rstitch.engine.decode_loop import DecodeLoop
from rstitch.engine.group import Group
from rstitch.engine.marks import Marks
from rstitch.engine.measure import ROWS, measure
from rstitch.engine.pump import Pump
from rstitch.engine.request import Request, samples
from rstitch.engine.runner import Runner
from rstitch.engine.sequence import Sequence
from rstitch.engine.vocabulary import Translation
from rstitch.errors import Closed
from rstitch.text import Tokenizer
from rstitch.types import Event, Side

T = TypeVar("T")

BURST = 0.002
"""Seconds of steps that are taken at once: nobody sees a token come that much later."""


class InProcessEngine:
    """Both models in this process. `step` is for one thread; the rest may be called from any."""

    def __init__(
        self,
        runners: Mapping[Side, Runner],
        eos_token_ids: frozenset[int] | Mapping[Side, frozenset[int]],
        config: EngineConfig | None = None,
        tokenizer: Tokenizer | Mapping[Side, Tokenizer] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        translation: Translation | None = None,
        marks: Marks | None = None,
    ) -> None:
        """End-of-text ids and tokenizer may be one for both sides, or given per side."""
        self.config = config or EngineConfig()
        self.runners = runners
        self.eos_token_ids = per_side(eos_token_ids)
        self.tokenizers = per_side(tokenizer)
        self.translation = translation
        self.marks = marks
        self.burst = BURST
        """Seconds of steps after which `events` is told what they brought; 0 is one step."""
        self.loop = DecodeLoop(runners, self.eos_token_ids, self.config, clock, marks)
        self.scheduler, self.rows = self.loop.scheduler, self.loop.rows
        self.faults = self.loop.faults
        self._ids = itertools.count()
        self._wake: Callable[[], None] | None = None
        self._closed = False

    @property
    def clock(self) -> Callable[[], float]:
        return self.loop.clock

    # -- the seam -------------------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raise BadRequest for a request that can never be served, with the numbers."""
        if self._closed:
            raise Closed("the engine is closed; load the pair again")
        self.faults.check(request)
        checks.check(request, self.tokenizers, self.rows.row_limits, self.marks)

    def submit(self, request: Request) -> str:
        """Accept a request. Raises BadRequest when it can never be served, with the numbers."""
        self.check(request)
        name = f"r{next(self._ids)}"
        self.accept(request, name, self.clock())
        return name

    def accept(self, request: Request, name: str, accepted: float) -> None:
        """A checked request that was given its name elsewhere, at that second of the clock."""
        group = Group() if request.n > 1 else None
        rows = [
            self.sequence(request, one, seed, group, accepted)
            for one, seed in samples(request, name)
        ]
        if group:
            group.members += rows
        self._tell(*rows)

    def sequence(
        self,
        request: Request,
        name: str,
        seed: int,
        group: Group | None = None,
        accepted: float | None = None,
    ) -> Sequence:
        """A new answer to a checked request, of which the engine knows nothing yet."""
        made = Sequence.begin(
            request,
            name,
            seed,
            self.clock() if accepted is None else accepted,
            self.tokenizers,
            self.rows.limits,
            self.translation,
        )
        made.group = group
        if any(side in self.faults.lost for side in request.policy.sides()):
            made.degrade()
        return made

    def cancel(self, request_id: str) -> None:
        self._tell(request_id)

    def _tell(self, *messages: Sequence | str) -> None:
        self.loop.asked.extend(messages)
        if self._wake:
            self._wake()

    async def events(self) -> AsyncIterator[Event]:
        """Run steps in a thread of their own and yield what happens, until `close`.

        They go on whether it is taken or not: a reader that is waited for costs more than a step of
        a small model. What has not been taken when the reader leaves waits for the next one.
        """
        here, ready = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # that loop is closed, so nobody reads
                here.call_soon_threadsafe(ready.set)

        pump = Pump(self._steps, lambda: self.idle, tell)
        self._wake = pump.wake
        pump.start()
        try:
            while True:
                ready.clear()
                while self.loop.happened:
                    yield self.loop.happened.popleft()
                if pump.error is not None:
                    raise pump.error
                if self._closed and not self.loop.happened:
                    return
                await ready.wait()
        finally:
            pump.stop()
            if self._wake == pump.wake:
                self._wake = None

    def stats(self) -> dict[str, Any]:
        """How things are, from any thread: a step may be under way.

        active, queued: answers. waiting: rows in flight by the side that writes next, without those
        that wait for memory. kv: per side, `Rows.stats`.
        """
        rows = [one for one in list(self.scheduler.active.values()) if not one.stalled]
        return {
            "active": len(self.scheduler.active),
            "waiting": {side.label: sum(one.side is side for one in rows) for side in Side},
            "queued": len(self.scheduler.queue) + len(self.loop.asked),
            "steps": self.loop.count,
            "lost": {side.label: reason for side, reason in self.faults.lost.items()},
            "kv": self.rows.stats(),
        }

    def seconds(self, side: Side, rows: int) -> float:
        """Of a decode step of so many rows, as seen lately; 0 where the side has never run."""
        return self.scheduler.costs.seconds(side, rows)

    def reading(self, side: Side) -> float:
        """Of each token that a row has to catch up on, beside its step, as seen lately."""
        return self.scheduler.costs.reading(side)

    def measure(self) -> LinearCosts:
        """What a step costs on each side, with one row and with several, measured while idle; the
        waiting table goes by it from then on where it has seen no steps."""
        self.forget()
        costs, rows = ObservedCosts(), self.config.max_rows
        nobody: dict[Side, list[int]] = {side: [] for side in self.runners}
        measure(self.runners, nobody, costs, rows, self.clock)
        found = costs.line(min(rows, ROWS))
        if not all(self.seconds(side, 1) for side in self.runners):
            self.scheduler.costs.expect(found, rows)
            for side in self.runners:
                self.scheduler.costs.expect_reading(side, costs.reading(side))
        return found

    def close(self) -> None:
        """Cancel everything and end `events`. Rows are freed; the engine can be used no more."""
        self.loop.close()
        self._closed = True
        if self._wake:
            self._wake()

    def forget(self) -> None:
        """Free the KV that ended requests have left: for whoever uses the runners beside this."""
        self.loop.forget()

    # -- steps ----------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is in flight, queued or waiting to be taken in."""
        return not (self.loop.asked or self.scheduler.active or self.scheduler.queue)

    def step(self) -> list[Event]:
        """One forward pass of one side over its rows; what came of it. Empty when idle."""
        self.loop.step()
        return self._taken()

    def steps(self) -> list[Event]:
        """As many as `burst` has room for, one at least; what came of them."""
        self._steps()
        return self._taken()

    def _taken(self) -> list[Event]:
        events: list[Event] = []
        while self.loop.happened:
            events.append(self.loop.happened.popleft())
        return events

    def _steps(self) -> None:
        until = time.perf_counter() + self.burst
        self.loop.step()
        while time.perf_counter() < until and not self.idle:
            self.loop.step()


def per_side(value: T | Mapping[Side, T]) -> Mapping[Side, T]:
    return value if isinstance(value, Mapping) else dict.fromkeys(Side, value)
