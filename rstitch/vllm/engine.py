"""The `Engine` seam on vLLM: an event loop in a thread of its own, which callers talk to from any.

vLLM's engines run in processes of their own; the coordinator on the loop only passes tokens between
them. What may be asked is checked here, before it is handed over.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.engine import checks, memory
from rstitch.engine.marks import Marks
from rstitch.engine.outbox import Outbox
from rstitch.engine.request import Request, samples
from rstitch.engine.sequence import Sequence
from rstitch.engine.vocabulary import Translation
from rstitch.errors import BadRequest, Closed
from rstitch.text import Tokenizer
from rstitch.types import Event, Side, Token
from rstitch.vllm import refusals
from rstitch.vllm.coordinator import Coordinator
from rstitch.vllm.loop import Loop
from rstitch.vllm.side import VllmSide, limits_of
from rstitch.vllm.starting import starting

PATIENCE = 0.02
"""Seconds that `step` waits for an event; whoever wants the engine meanwhile waits as long."""


class VllmEngine:
    """Two vLLM engines that write together. Everything may be called from any thread."""

    def __init__(
        self,
        sides: Mapping[Side, VllmSide],
        eos_token_ids: Mapping[Side, frozenset[int]],
        config: EngineConfig,
        tokenizer: Mapping[Side, Tokenizer],
        translation: Translation | None = None,
        marks: Marks | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts the engines, one after the other. Raises BadModel where one cannot run."""
        self.runners, self.config, self.tokenizers = dict(sides), config, tokenizer
        self.translation, self.marks, self.clock = translation, marks, clock
        self._outbox = Outbox()
        self._coordinator = Coordinator(sides, eos_token_ids, config, self._outbox, clock)
        self._ids = itertools.count()
        self._open = 0
        """Answers without an end."""
        self._counting = threading.Lock()
        self._closed = False
        self._home = Loop("rstitch-vllm")
        self._loop = self._home.loop
        try:
            self._home.run(self._start())
        except BaseException:
            self._stop()
            raise
        self._limits = limits_of(self.runners)

    # -- the seam -------------------------------------------------------------------------------

    def submit(self, request: Request) -> str:
        """Accept a request. Raises BadRequest when it can never be served, with the numbers."""
        self.check(request)
        name = f"r{next(self._ids)}"
        rows = [
            Sequence.begin(
                request,
                sample,
                seed,
                self.clock(),
                self.tokenizers,
                self._limits.limits,
                self.translation,
            )
            for sample, seed in samples(request, name)
        ]
        if any(side in self._coordinator.faults.lost for side in request.policy.sides()):
            for row in rows:
                row.degrade()
        with self._counting:
            self._open += len(rows)
        self._loop.call_soon_threadsafe(self._coordinator.add, rows)
        return name

    def cancel(self, request_id: str) -> None:
        if not self._closed:
            self._loop.call_soon_threadsafe(self._coordinator.cancel, request_id)

    async def events(self) -> AsyncIterator[Event]:
        async for event in self._outbox.stream():
            self._count([event])
            yield event

    def step(self) -> list[Event]:
        """What has happened, or the first that does within a moment. Empty when idle."""
        events = self._outbox.take(0.0 if self.idle else PATIENCE)
        self._count(events)
        return events

    @property
    def idle(self) -> bool:
        """Every answer's end has been taken."""
        return self._open == 0

    def stats(self) -> dict[str, Any]:
        """As the in-process engine's, without `kv`, which vLLM counts by itself."""
        home = self._coordinator
        rows = list(home.scheduler.active.values())
        return {
            "active": len(rows),
            "waiting": {side.label: sum(one.side is side for one in rows) for side in Side},
            "queued": len(home.scheduler.queue),
            "steps": home.steps,
            "lost": {side.label: reason for side, reason in home.faults.lost.items()},
            "kv": {},
        }

    def seconds(self, side: Side, rows: int) -> float:
        """Of a decode step, as seen lately; 0 before the first."""
        return self._coordinator.scheduler.costs.seconds(side, rows)

    def reading(self, side: Side) -> float:
        """Of each token that a row has to catch up on, taken to be what a further row costs."""
        return self._coordinator.scheduler.costs.reading(side)

    def measure(self) -> LinearCosts:
        """vLLM's steps are timed as they run, not beforehand."""
        raise BadRequest(
            "steps cannot be measured on vLLM; write an answer first, or give profile= a file"
        )

    def close(self) -> None:
        """Cancel everything, end vLLM's processes and `events`."""
        if self._closed:
            return
        self._closed = True
        self._home.run(self._coordinator.close())
        self._stop()
        self._outbox.close()

    # -- within ---------------------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raise BadRequest for a request that can never be served, with the numbers."""
        if self._closed:
            raise Closed("the engine is closed; load the pair again")
        self._coordinator.faults.check(request)
        refusals.check(request, self.runners)
        checks.check(request, self.tokenizers, self._limits, self.marks)

    def _count(self, events: list[Event]) -> None:
        ends = sum(not isinstance(event, Token) for event in events)
        with self._counting:
            self._open -= ends

    async def _start(self) -> None:
        """Together on a CPU; on a GPU each measures what memory there is, so they take turns. So do
        they with variables of their own, of which the process has one set at a time."""
        weights = sum(side.shape.weights for side in self.runners.values())
        shares = memory.bound(self.runners, self.config.kv_memory, self.config.device, weights)
        with starting(self.config.device, self.config.max_rows) as log:
            starts = [
                asyncio.to_thread(side.start, shares[name], log)
                for name, side in self.runners.items()
            ]
            own = any(side.environment for side in self.runners.values())
            if self.config.device == "cpu" and not own:
                ends = await asyncio.gather(*starts, return_exceptions=True)
                for error in filter(None, ends):
                    raise error
            else:
                for start in starts:
                    await start

    def _stop(self) -> None:
        with ThreadPoolExecutor() as pool:  # each waits for its processes
            list(pool.map(VllmSide.stop, self.runners.values()))
        self._home.close()
