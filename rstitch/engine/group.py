"""Samples of one prompt: its KV is computed once per side and shared.

The first sample to reach a side reads the prompt there, the others wait for it and fork its row.
When a sample ends while others have still to come, its row is cut back to the prompt and kept for
the next of them, which takes it over. So the prompt's KV lives as long as anybody needs it, which
is what its reference count says: the members without a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rstitch.engine.runner import Row, Runner
from rstitch.engine.sequence import Sequence
from rstitch.types import Side


@dataclass(slots=True, eq=False)
class Group:
    """The samples that have not ended, from old to young, and the prompt rows kept for them."""

    members: list[Sequence] = field(default_factory=list)
    rows: dict[Side, Row] = field(default_factory=dict)

    def needed(self, side: Side) -> int:
        """Members that have yet to take or fork the prompt's row on that side."""
        return sum(side not in member.rows for member in self.members)

    def inherit(self, heir: Sequence, side: Side, runner: Runner) -> None:
        """Give the heir a row that is there already: a kept one, or one into which a younger
        sample is reading the prompt, lest the older one have to wait for the younger."""
        if side in heir.rows:
            return
        if side in self.rows:
            heir.rows[side] = self.rows.pop(side)
            return
        younger = self.members[self.members.index(heir) + 1 :]
        for other in younger:
            row = other.rows.get(side)
            if row is not None and runner.cached(row) < len(heir.request.prompts[side]):
                heir.rows[side] = other.rows.pop(side)
                return

    def fork(self, heir: Sequence, side: Side, runner: Runner) -> Row | None:
        """A row that has cached the prompt, from a sample that has, if there is one. The prompt's
        last token is left out: a fresh sample has to feed it anew for the distribution after it."""
        prompt = len(heir.request.prompts[side])
        for other in self.members:
            row = other.rows.get(side)
            if row is not None and runner.cached(row) >= prompt:
                return runner.fork(row, max(prompt - 1, 0))
        return None

    def reading(self, side: Side) -> bool:
        """Some sample has a row there."""
        return any(side in member.rows for member in self.members)

    def leave(self, member: Sequence, runners: dict[Side, Runner]) -> None:
        """A sample has ended. What others need of its rows is kept, the rest is freed."""
        self.members.remove(member)
        for side, row in member.rows.items():
            prompt, runner = len(member.request.prompts[side]), runners[side]
            kept = self.needed(side) and not self.reading(side) and side not in self.rows
            if kept and runner.cached(row) >= prompt:
                runner.truncate(row, prompt)
                self.rows[side] = row
            else:
                runner.free(row)
        for side in [side for side in self.rows if not self.needed(side)]:
            runners[side].free(self.rows.pop(side))
