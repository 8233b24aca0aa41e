"""A block under way, and how what it recorded becomes passes and proposals."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace

import torch

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

    def all_stay(self, seen: Seen) -> bool:
        return all(line[STAYS] for line in seen[-1][: len(self.rows)])

    def next(self, seen: Seen, steps: int, at: float, changes: int) -> Launched:
        """The block that goes on where this one ends, if all rows stay."""
        return replace(
            self,
            starts=[s + c + self.steps - 1 for s, c in zip(self.starts, self.counts, strict=True)],
            counts=[1] * len(self.rows),
            tokens=[int(line[TOKEN]) for line in seen[-1][: len(self.rows)]],
            steps=steps,
            at=at,
            changes=changes,
        )

    def passes(self, kv: PagedKV, seen: Seen, seconds: float) -> Iterator[Taken]:
        """Step by step, without rows that rest or have ended meanwhile; each pass's tokens count as
        cached from when it is asked for."""
        for j, step in enumerate(seen):
            going = [i for i in range(len(self.rows)) if step[i][ACTIVE] and self._here(i)]
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
            row.state = torch.tensor([state], dtype=torch.float32)
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
