"""A block under way, and how what it recorded becomes passes and proposals."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace

from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.runner import Row
from rstitch.engine.sequence import Sequence
from rstitch.engine.static.lines import (
    ACTIVE,
    ENTROPY,
    KEEP,
    LOGPROB,
    NAMED,
    NEXT,
    SIGNALS,
    STAYS,
    TOKEN,
    Lines,
)
from rstitch.engine.static.step import Asked
from rstitch.engine.taken import Taken
from rstitch.types import Proposal, Side

Seen = list[list[list[float]]]
"""What steps recorded: by step, by row, by column."""


@dataclass(frozen=True, slots=True)
class Launched:
    """What a block was launched for."""

    side: Side
    rows: list[Sequence]
    names: list[Row]
    places: list[int]
    """Which line each row has."""
    starts: list[int]
    """Tokens that each row had cached before it."""
    counts: list[int]
    """Tokens that its first step feeds to each."""
    tokens: list[int]
    """The last of them."""
    lines: Lines
    asked: Asked
    steps: int
    at: float
    """Clock seconds."""
    changes: int
    """The memory's, after pages were taken for the block: if others came since, they may have
    taken pages that it has no more use for."""

    def ends(self, seen: Seen) -> list[int]:
        """Tokens that each row has cached after it."""
        steps = [sum(bool(line[place][ACTIVE]) for line in seen) for place in self.places]
        return [
            start + count + n - 1
            for start, count, n in zip(self.starts, self.counts, steps, strict=True)
        ]

    def parted(self, seen: Seen) -> tuple[list[Sequence], list[Sequence]]:
        """Rows that go on, and rows that go to the other side; who ends is in neither."""
        stay, leave = list[Sequence](), list[Sequence]()
        for row, place in zip(self.rows, self.places, strict=True):
            last = [step[place] for step in seen if step[place][ACTIVE]][-1]
            if last[STAYS]:
                stay.append(row)
            elif last[NEXT] != self.side:
                leave.append(row)
        return stay, leave

    def of(self, rows: list[Sequence]) -> Launched:
        """The block as if it had been of some of its rows only."""
        ids = {row.id for row in rows}
        kept = [i for i, row in enumerate(self.rows) if row.id in ids]
        return replace(
            self,
            rows=[self.rows[i] for i in kept],
            names=[self.names[i] for i in kept],
            places=[self.places[i] for i in kept],
            starts=[self.starts[i] for i in kept],
            counts=[self.counts[i] for i in kept],
            tokens=[self.tokens[i] for i in kept],
        )

    def next(self, seen: Seen, steps: int, at: float, changes: int) -> Launched:
        """The block that goes on where this one ends, if all rows stay."""
        return replace(
            self,
            starts=self.ends(seen),
            counts=[1] * len(self.rows),
            tokens=[int(seen[-1][place][TOKEN]) for place in self.places],
            steps=steps,
            at=at,
            changes=changes,
        )

    def passes(self, kv: PagedKV, seen: Seen, seconds: float) -> Iterator[Taken]:
        """Step by step, without rows that rest or have ended meanwhile; each pass's tokens count as
        cached from when it is asked for."""
        for j, lines in enumerate(seen):
            step = [lines[place] for place in self.places]
            going = [i for i, line in enumerate(step) if line[ACTIVE] and self._here(i)]
            if not going:
                return
            ends = [self.starts[i] + self.counts[i] + j for i in going]
            for i, end in zip(going, ends, strict=True):
                kv.length[kv.slot_of[self.names[i]]] = end
            rows = [self.rows[i] for i in going]
            sizes = [1 if j else self.counts[i] for i in going]
            proposals = [self._proposal(self.rows[i], step[i]) for i in going]
            yield Taken(rows, sizes, ends, rows, proposals, seconds)

    def _here(self, i: int) -> bool:
        row = self.rows[i]
        return row.side is self.side and row.rows.get(self.side) == self.names[i]

    def _proposal(self, row: Sequence, line: Many[float]) -> Proposal:
        """The policy's memory moves on with it."""
        policy = row.request.policy
        if self.asked.memory:
            state = line[NAMED + SIGNALS :][: self.asked.memory]
            row.state = array("f", state)
        return Proposal(
            position=len(row.tokens),
            token=int(line[TOKEN]),
            side=self.side,
            keep=bool(line[KEEP]),
            next_side=Side(int(line[NEXT])),
            entropy=line[ENTROPY],
            logprob=line[LOGPROB],
            signals=dict(zip(policy.recorded(), line[NAMED:], strict=False)),
        )
