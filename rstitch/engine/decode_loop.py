"""The decode loop: take in what is asked, pick a side and its rows, extend, read, commit.

Each `step` moves its rows one token on, or discards a proposal and parks the row for the other
side; when an answer ends its rows are freed on both sides, or left for a later prompt that begins
alike. Parked rows keep their KV, so a hand-off is no more than feeding the unseen tokens; a row
that lost its KV to others feeds all of them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter

from rstitch.config import EngineConfig
from rstitch.costs import load_profile
from rstitch.engine import faults, gate, passes
from rstitch.engine.marks import Marks
from rstitch.engine.measure import measure
from rstitch.engine.rows import Rows
from rstitch.engine.runner import Extend, Row, Runner
from rstitch.engine.scheduler import Scheduler
from rstitch.engine.sequence import Sequence
from rstitch.engine.span import SCORED, first_wanted
from rstitch.engine.static.blocks import blocks_of
from rstitch.engine.taken import Taken
from rstitch.engine.threads import threads_for
from rstitch.types import Event, Failed, FinishReason, Forward, Proposal, Side, Token

PREFILL = 16
"""Steps that feed more tokens per row than this say nothing about the cost of decoding, but what
reading costs. Shorter catch-ups are part of what a step costs on average."""


class DecodeLoop:
    """One step at a time, by any thread. `asked` and `happened` may be used while one runs."""

    def __init__(
        self,
        runners: Mapping[Side, Runner],
        eos_token_ids: Mapping[Side, frozenset[int]],
        config: EngineConfig,
        clock: Callable[[], float],
        marks: Marks | None,
    ) -> None:
        self.runners = runners
        self.eos_token_ids = eos_token_ids
        self.config = config
        self.clock = clock
        self.marks = marks
        self.scheduler = Scheduler(config, clock)
        self.rows = Rows(runners, config)
        self.faults = faults.Faults()
        self.blocks = blocks_of(runners, eos_token_ids, clock)
        self.asked: deque[Sequence | str] = deque()
        """Answers to begin, and names of those to cancel."""
        self.happened: deque[Event] = deque()
        """What nobody has taken yet."""
        self.count = 0
        """Steps so far."""
        self.measures = config.measure_costs and not config.profile
        """What steps cost is still to be measured, once rows may have to wait for each other."""
        if config.profile:
            self.scheduler.costs.expect(load_profile(config.profile), config.max_rows)
        self.watch: Callable[[Side, Taken], None] | None = None
        """Told of every pass, where somebody measures."""
        self._gate_threads = threads_for(config)
        self._stepping = threading.Lock()

    def step(self) -> None:
        """One forward pass of one side over its rows. Its events wait in `happened`, where nobody's
        end can lose them."""
        with self._stepping:
            self.count += 1
            if self.asked:
                self._take_asked()
            scheduler = self.scheduler
            if scheduler.queue:
                scheduler.admit(lambda one: self.rows.admits(one, list(scheduler.active.values())))
            if self.measures and len(scheduler.active) > 1:
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
        blocks = self.blocks.get(side)
        if blocks and blocks.serves(rows, fed):
            costs, rates = self.scheduler.costs, self.scheduler.rates
            leaving = 0.0 if all(row.pinned for row in rows) else rates.probability(side)
            return blocks.read(rows, fed, leaving, costs.seconds(side, len(rows)), self._again)
        started, sizes = self.clock(), [len(item.tokens) for item in fed]
        asked, proposals = self.read(side, rows, fed)
        return [Taken(rows, sizes, ends, asked, proposals, self.clock() - started)]

    def _again(self, stay: list[Sequence], leave: list[Sequence]) -> bool:
        """Whether the next step is of these rows alone, once the others have changed sides."""
        return not self.asked and self.scheduler.again(stay, leave)

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
                self.happened += self._commit(row, proposal, now)
            except Exception as error:  # a text that cannot be decoded is this row's own affair
                self._fail([row], error)

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

    def _measure_costs(self) -> None:
        """Once, when rows may have to wait for each other for the first time."""
        active = list(self.scheduler.active.values())
        if all(row.pinned for row in active):
            return
        self.measures = False
        self.rows.forget()  # as many rows as may be
        held = {side: self.rows.lengths(side, active) for side in self.runners}
        steps = {side: blocks.seconds for side, blocks in self.blocks.items()}
        measure(self.runners, held, self.scheduler.costs, self.config.max_rows, self.clock, steps)

    # -- beginnings and ends ----------------------------------------------------------------------

    def _take_asked(self) -> None:
        while self.asked:
            message = self.asked.popleft()
            if isinstance(message, Sequence):
                self.scheduler.add(message)
                continue
            known = [*self.scheduler.active.values(), *self.scheduler.queue]
            for sequence in known:
                if sequence.is_called(message):
                    self.happened += self._ended(sequence, "cancelled")

    def close(self) -> None:
        """Cancel everything; all rows are free."""
        with self._stepping:
            self._take_asked()
            for sequence in [*self.scheduler.active.values(), *self.scheduler.queue]:
                self.happened += self._ended(sequence, "cancelled")
            self.rows.forget()

    def forget(self) -> None:
        """Free the KV that ended requests have left."""
        with self._stepping:
            self.rows.forget()

    def _ended(self, row: Sequence, reason: FinishReason) -> list[Event]:
        """What nobody asked the LLM about stays in the answer, then the end."""
        waiting = row.span.release() if row.span else []
        self._release(row)
        return [*waiting, row.finished(reason, self.clock())]

    def _fail(self, rows: list[Sequence], error: Exception) -> None:
        for row in rows:
            waiting = row.span.release() if row.span else []
            self._release(row, whole=False)
            self.happened += [*waiting, Failed(row.id, error, tuple(row.forwards))]

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
                self.happened += row.span.release() if row.span else []
                row.degrade()
            else:
                self._fail([row], told)

    def _release(self, row: Sequence, whole: bool = True) -> None:
        self.rows.release(row, whole)
        self.scheduler.remove(row)
