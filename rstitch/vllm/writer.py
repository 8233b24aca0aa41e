"""One answer on two vLLM engines: turns, one after the other, until it ends.

The row is the in-process engine's `Sequence`: what it keeps, says and counts is decided there.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rstitch.engine.decode_loop import PREFILL
from rstitch.engine.sequence import Sequence
from rstitch.errors import BadPolicy
from rstitch.types import Forward, Side, Token
from rstitch.vllm.asked import Asked
from rstitch.vllm.report import Layout, Report
from rstitch.vllm.session import Session

if TYPE_CHECKING:
    from rstitch.vllm.coordinator import Coordinator


@dataclass(slots=True)
class Writer:
    """Owns the answer's sessions; `write` leaves none behind."""

    home: Coordinator
    row: Sequence
    sessions: dict[Side, Session] = field(default_factory=dict)
    memory: tuple[float, ...] = ()
    """The policy's state row, as the last report had it."""
    accepted: float = field(init=False)
    """Seconds since the epoch, as workers may be elsewhere; the time in the queue counts."""

    def __post_init__(self) -> None:
        self.memory = self.row.request.policy.initial_state()
        self.accepted = time.time() - (self.home.clock() - self.row.accepted)

    def degrade(self) -> None:
        """The LLM is lost: from here on the SLM writes alone."""
        self.row.degrade()
        self.memory = ()

    async def write(self) -> None:
        """To its end, which `row.finish` then says. Raises what a turn raises."""
        try:
            while self.row.finish is None:
                if self.row.side is Side.LLM and not self.row.pinned:
                    await self.home.turns.wait(self.row)
                await self._turn(self.row.side)
        finally:
            while self.sessions:
                _, session = self.sessions.popitem()
                await session.close()

    async def _turn(self, side: Side) -> None:
        """Until control passes or the answer ends; or until vLLM has put the request aside and
        forgotten what its policy remembered, in which case the side begins anew."""
        row, clock = self.row, self.home.clock
        session, layout = self._session(side), self._layout(side)
        unseen = row.unseen(side, session.cached, row.length(side))
        new, since, most = len(unseen), clock(), row.most - len(row.tokens)
        async with aclosing(session.turn(unseen, self._asked(side, layout), layout, most)) as turn:
            async for reports in turn:
                now = clock()
                seconds = (now - since) / len(reports)
                for report in reports:
                    if report.forgot:
                        await self.sessions.pop(side).close()
                        return
                    row.caught_up(side, session.cached, new)
                    session.cached += new
                    self._commit(side, report, _pass(side, report.rows, new, session, seconds), now)
                    timed = seconds if new <= PREFILL else None
                    self.home.observe(row, side, report.rows, timed)
                    new = 1
                    if row.finish is not None:
                        return
                since = now
        if session.full and row.side is side:
            row.finish = "length"

    def _session(self, side: Side) -> Session:
        if side not in self.sessions:
            ends = [] if self.row.request.ignore_eos else sorted(self.home.ends[side])
            llm = self.home.sides[side].llm
            self.sessions[side] = Session(llm, f"{self.row.id}-{side.label}", ends)
        return self.sessions[side]

    def _layout(self, side: Side) -> Layout:
        request, shape = self.row.request, self.home.sides[side].shape
        return Layout.of(request.policy, shape.columns, shape.vocab_size, request.top_logprobs)

    def _asked(self, side: Side, layout: Layout) -> Asked:
        row, drawn = self.row, self.row.request.sampling
        return Asked(
            policy=row.request.policy.spec(),
            side=int(side),
            columns=layout.columns,
            vocab_size=layout.vocab_size,
            prompt=len(row.request.prompts[side]),
            start=len(row.tokens),
            memory=self.memory,
            stop=layout.stop,
            seed=row.seed,
            accepted=self.accepted,
            temperature=drawn.temperature,
            top_k=drawn.top_k,
            top_p=drawn.top_p,
            min_p=drawn.min_p,
            tops=layout.tops,
        )

    def _commit(self, side: Side, report: Report, forward: Forward, now: float) -> None:
        row = self.row
        if report.unscored:
            raise BadPolicy(
                f"policy {row.request.policy.name!r}: vLLM's worker of the {side.name} could not "
                "score the hidden state; why is in its log, which VLLM_LOGGING_LEVEL=ERROR shows"
            )
        proposal = report.proposal(len(row.tokens), side)
        self.memory = tuple(report.memory)
        row.forwards.append(forward)
        row.ready_since = now
        text = row.commit(proposal, self.home.ends[side])
        self.home.outbox.put([Token(row.id, proposal, text, now - row.accepted)])


def _pass(side: Side, rows: int, new: int, session: Session, seconds: float) -> Forward:
    """A pass as the coordinator saw it. Of the others it knows that they were there, so its tokens
    are the fewest that there can have been; a long prompt counts as one, in whatever chunks."""
    return Forward(side, rows, new, session.cached, new + rows - 1, seconds)
