"""The decode loop: pick a side and its rows, extend, read, commit.

The life of a request: `submit` checks it, the scheduler admits it, each `step` moves it one token
on (or discards a proposal and parks it for the other side), and when it ends its rows are freed on
both sides, or left for a later prompt that begins alike. Parked rows keep their KV, so a hand-off
is no more than feeding the unseen tokens; a row that lost its KV to others feeds all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any, TypeVar

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts, ObservedCosts, load_profile
from rstitch.engine import checks, faults, gate, passes
from rstitch.engine.group import Group
from rstitch.engine.marks import Marks
from rstitch.engine.measure import ROWS, measure
from rstitch.engine.pump import Pump
from rstitch.engine.request import Request, samples
from rstitch.engine.rows import Rows
from rstitch.engine.runner import Extend, Row, Runner
from rstitch.engine.scheduler import Scheduler
from rstitch.engine.sequence import Sequence
from rstitch.engine.span import SCORED, first_wanted
from rstitch.engine.static.blocks import blocks_of
from rstitch.engine.taken import Taken
from rstitch.engine.threads import threads_for
from rstitch.engine.vocabulary import Translation
from rstitch.errors import Closed
from rstitch.text import Tokenizer
from rstitch.types import (
    Event,
    Failed,
    Finished,
    FinishReason,
    Forward,
    Proposal,
    Side,
    Token,
)

T = TypeVar("T")

BURST = 0.002
"""Seconds of steps that are taken at once: nobody sees a token come that much later."""
PREFILL = 16
"""Steps that feed more tokens per row than this say nothing about the cost of decoding, but what
reading costs. Shorter catch-ups are part of what a step costs on average."""


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
        self.runners = runners
        self.eos_token_ids = per_side(eos_token_ids)
        self.config = config or EngineConfig()
        self.tokenizers = per_side(tokenizer)
        self.translation = translation
        self.clock = clock
        self.marks = marks
        self.burst = BURST
        """Seconds of steps after which `events` is told what they brought; 0 is one step."""
        self.scheduler = Scheduler(self.config, clock)
        self.rows = Rows(runners, self.config)
        self._blocks = blocks_of(runners, self.eos_token_ids, clock)
        self._gate_threads = threads_for(self.config)
        self._measure = self.config.measure_costs and not self.config.profile
        if self.config.profile:
            self.scheduler.costs.expect(load_profile(self.config.profile), self.config.max_rows)
        self._inbox: deque[Sequence | str] = deque()
        self._ids = itertools.count()
        self._wake: Callable[[], None] | None = None
        self._closed = False
        self._undelivered: deque[Event] = deque()
        self._stepping = threading.Lock()
        self._count = 0
        """Steps so far."""
        self.faults = faults.Faults()
        self.watch: Callable[[Side, Taken], None] | None = None
        """Told of every pass, where somebody measures."""

    # -- the seam -------------------------------------------------------------------------------

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

    async def events(self) -> AsyncIterator[Event]:
        """Run steps in a thread of their own and yield what happens, until `close`.

        They go on whether it is taken or not: a reader that is waited for costs more than a step of
        a small model. What has not been taken when the reader leaves waits for the next one.
        """
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed, so nobody reads
                loop.call_soon_threadsafe(ready.set)

        pump = Pump(self._steps, lambda: self.idle, tell)
        self._wake = pump.wake
        pump.start()
        try:
            while True:
                ready.clear()
                while self._undelivered:
                    yield self._undelivered.popleft()
                if pump.error is not None:
                    raise pump.error
                if self._closed and not self._undelivered:
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
            "queued": len(self.scheduler.queue) + len(self._inbox),
            "steps": self._count,
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
        with self._stepping:
            self._take_inbox()
            for sequence in [*self.scheduler.active.values(), *self.scheduler.queue]:
                self._undelivered += self._ended(sequence, "cancelled")
            self.rows.forget()
        self._closed = True
        if self._wake:
            self._wake()

    def forget(self) -> None:
        """Free the KV that ended requests have left: for whoever uses the runners beside this."""
        with self._stepping:
            self.rows.forget()

    # -- the loop -------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is in flight, queued or waiting to be taken in."""
        return not (self._inbox or self.scheduler.active or self.scheduler.queue)

    def step(self) -> list[Event]:
        """One forward pass of one side over its rows; what came of it. Empty when idle."""
        self._step()
        return self._taken()

    def steps(self) -> list[Event]:
        """As many as `burst` has room for, one at least; what came of them."""
        self._steps()
        return self._taken()

    def _taken(self) -> list[Event]:
        events: list[Event] = []
        while self._undelivered:
            events.append(self._undelivered.popleft())
        return events

    def _steps(self) -> None:
        until = time.perf_counter() + self.burst
        self._step()
        while time.perf_counter() < until and not self.idle:
            self._step()

    def _step(self) -> None:
        """A step whose events wait in `_undelivered`, where nobody's end can lose them."""
        with self._stepping:
            self._count += 1
            if self._inbox:
                self._take_inbox()
            scheduler = self.scheduler
            if scheduler.queue:
                scheduler.admit(lambda one: self.rows.admits(one, list(scheduler.active.values())))
            if self._measure and len(scheduler.active) > 1:
                self._measure_costs()
            picked = scheduler.pick()
            if picked is None:
                return
            for side, chosen in self._tries(*picked):
                started = self.clock()
                try:
                    rows, fed, ends = self._feed(side, chosen)
                except Exception as error:  # a row cannot be made: who asked ends, not the engine
                    asking = [row for row in scheduler.active.values() if row.side is side]
                    self._fault(side, asking, error)
                    return
                if fed:
                    self._run(side, rows, fed, ends)
                    scheduler.charge(rows, started)
                    return
            raise AssertionError("no row can go on, not even the oldest request's")

    def _tries(self, side: Side, rows: list[Sequence]) -> list[tuple[Side, set[str] | None]]:
        """What to run, then what else if there is no memory for that: a side, and the names of
        the rows whose turn it is, or None for all that are on it."""
        tries: list[tuple[Side, set[str] | None]] = [(side, None), (side.other, None)]
        if self.scheduler.turns.contested:
            tries.insert(0, (side, {row.id for row in rows}))
        return tries

    def _measure_costs(self) -> None:
        """Once, when rows may have to wait for each other for the first time."""
        active = list(self.scheduler.active.values())
        if all(row.pinned for row in active):
            return
        self._measure = False
        self.rows.forget()  # as many rows as may be
        held = {side: self.rows.lengths(side, active) for side in self.runners}
        steps = {side: blocks.seconds for side, blocks in self._blocks.items()}
        measure(self.runners, held, self.scheduler.costs, self.config.max_rows, self.clock, steps)

    def _run(self, side: Side, rows: list[Sequence], fed: list[Extend], ends: list[int]) -> None:
        try:
            passes = self._passes(side, rows, fed, ends)
        except Exception as error:  # one bad pass must not leave its rows behind
            self._fault(side, rows, error)
            return
        self.faults.none(side)
        for one in passes:
            self._take(side, one)

    def _passes(
        self, side: Side, rows: list[Sequence], fed: list[Extend], ends: list[int]
    ) -> Iterable[Taken]:
        """The next pass; several where they run in a block."""
        blocks = self._blocks.get(side)
        if blocks and blocks.serves(rows, fed):
            costs, rates = self.scheduler.costs, self.scheduler.rates
            leaving = 0.0 if all(row.pinned for row in rows) else rates.probability(side)
            return blocks.read(rows, fed, leaving, costs.seconds(side, len(rows)), self._again)
        started, sizes = self.clock(), [len(item.tokens) for item in fed]
        asked, proposals = self.read(side, rows, fed)
        return [Taken(rows, sizes, ends, asked, proposals, self.clock() - started)]

    def _again(self, stay: list[Sequence], leave: list[Sequence]) -> bool:
        """Whether the next step is of these rows alone, once the others have changed sides."""
        return not self._inbox and self.scheduler.again(stay, leave)

    def _take(self, side: Side, one: Taken) -> None:
        """Account for a pass, and commit what was read from it."""
        if self.watch:
            self.watch(side, one)
        now, count, total = self.clock(), len(one.rows), sum(one.sizes)
        for row, new, end in zip(one.rows, one.sizes, one.ends, strict=True):
            row.forwards.append(Forward(side, count, new, end, total, one.seconds))
            row.ready_since = now
        if total > PREFILL * count:
            self.scheduler.costs.observe_reading(side, count, total, one.seconds)
        elif one.asked:
            left = [proposal.next_side for proposal in one.proposals].count(side.other)
            self.scheduler.observe(side, list(one.asked), one.seconds, left)
        for row, proposal in zip(one.asked, one.proposals, strict=True):
            try:
                if row.broken:
                    raise row.broken
                self._undelivered += self._commit(row, proposal, now)
            except Exception as error:  # a text that cannot be decoded is this row's own affair
                self._fail([row], error)

    def read(
        self, side: Side, rows: list[Sequence], fed: list[Extend]
    ) -> tuple[list[Sequence], list[Proposal]]:
        """The forward pass, and a proposal for each row whose side has now seen everything."""
        asked, logits, hidden = passes.extend(self.runners, side, rows, fed)
        if not asked:
            return [], []
        vocab_size = self.runners[side].vocab_size
        return asked, gate.read(
            logits, asked, side, vocab_size, hidden, self.marks, self._gate_threads, self.clock
        )

    def _feed(
        self, side: Side, chosen: set[str] | None
    ) -> tuple[list[Sequence], list[Extend], list[int]]:
        """What each row with room, or each of the chosen, has not seen yet, under the step's token
        budget; who has waited longest goes first. With it the tokens cached after that."""
        runner, budget = self.runners[side], self.config.max_step_tokens
        taken = list[tuple[Row, Sequence, Extend, int]]()
        active = list(self.scheduler.active.values())
        ready = self.rows.settle(side, active)
        if chosen is not None:
            ready = [row for row in ready if row.id in chosen]
        if len(active) > 1:
            ready.sort(key=lambda row: row.ready_since)
            for sequence in active:
                if sequence.stalled and sequence.side is side:  # it does not wait for its side
                    sequence.ready_since = self.clock()
        for sequence in ready:
            if budget < 1:
                break
            row = self.rows.row(sequence, side)
            if row is None:
                sequence.ready_since = self.clock()
                continue
            have = runner.cached(row)
            length = sequence.length(side)
            need = length - 1 if sequence.span is None else first_wanted(sequence, side)
            if have > need:  # a distribution that was read before: feed its token anew
                have = need
                runner.truncate(row, have)
            tokens = sequence.feed(side, have, min(budget, need - have + SCORED, length - have))
            budget -= len(tokens)
            taken.append((row, sequence, Extend(row, tokens), have + len(tokens)))
        taken.sort(key=itemgetter(0))  # in the order in which they lie in memory
        _, rows, fed, ends = map(list, zip(*taken, strict=True)) if taken else ([], [], [], [])
        return rows, fed, ends

    def _commit(self, row: Sequence, proposal: Proposal, now: float) -> list[Event]:
        waits = row.span is not None and proposal.side is Side.SLM
        before = row.text.copy() if waits and row.text else None
        text = row.commit(proposal, self.eos_token_ids[proposal.side])
        event = Token(row.id, proposal, text, now - row.accepted)
        events: list[Event] = []
        if row.span is None:
            events.append(event)
        elif waits:  # its token may still be taken back
            row.span.hold(event, before)
        else:
            events += row.span.close(event)
        if row.finish:
            events += self._ended(row, row.finish)
        return events

    # -- beginnings and ends --------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raise BadRequest for a request that can never be served, with the numbers."""
        if self._closed:
            raise Closed("the engine is closed; load the pair again")
        self.faults.check(request)
        checks.check(request, self.tokenizers, self.rows.row_limits, self.marks)

    def _tell(self, *messages: Sequence | str) -> None:
        self._inbox.extend(messages)
        if self._wake:
            self._wake()

    def _take_inbox(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, Sequence):
                self.scheduler.add(message)
                continue
            known = [*self.scheduler.active.values(), *self.scheduler.queue]
            for sequence in known:
                if sequence.is_called(message):
                    self._undelivered += self._ended(sequence, "cancelled")

    def _release(self, row: Sequence, whole: bool = True) -> None:
        self.rows.release(row, whole)
        self.scheduler.remove(row)

    def _ended(self, row: Sequence, reason: FinishReason) -> list[Event]:
        """What nobody asked the LLM about stays in the answer, then the end."""
        waiting = row.span.release() if row.span else []
        return [*waiting, self._end(row, reason)]

    def _fail(self, rows: list[Sequence], error: Exception) -> None:
        for row in rows:
            waiting = row.span.release() if row.span else []
            self._release(row, whole=False)
            self._undelivered += [*waiting, Failed(row.id, error, tuple(row.forwards))]

    def _fault(self, side: Side, rows: list[Sequence], error: Exception) -> None:
        """A pass has failed: its rows end, or all that cannot do without its side if it is lost."""
        self.rows.forget()  # out of memory, what idle ones held may be gone
        lost, told = self.faults.judge(side, len(rows), error)
        if not lost:
            self._fail(rows, told)
            return
        for row in [*self.scheduler.active.values(), *self.scheduler.queue]:
            if side not in row.request.policy.sides():
                continue
            self.rows.abandon(row, side)
            if faults.degrades(row.request, side):
                self._undelivered += row.span.release() if row.span else []
                row.degrade()
            else:
                self._fail([row], told)

    def _end(self, row: Sequence, reason: FinishReason) -> Finished:
        self._release(row)
        return row.finished(reason, self.clock())


def per_side(value: T | Mapping[Side, T]) -> Mapping[Side, T]:
    return value if isinstance(value, Mapping) else dict.fromkeys(Side, value)
