"""Which sequence has a row of KV on which side: given, shared, taken away under pressure, kept for
the next request, freed.

A row that is taken away costs nothing but time: the sequence keeps its tokens, and when it runs
there again they are fed anew like any others that its side has not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as Many
from contextlib import suppress
from typing import Any

from rstitch.config import EngineConfig
from rstitch.engine import memory, pressure
from rstitch.engine.group import Group
from rstitch.engine.idle import IdleRows
from rstitch.engine.pressure import Claim
from rstitch.engine.row_limits import RowLimits
from rstitch.engine.runner import Row, Runner
from rstitch.engine.sequence import Sequence
from rstitch.types import Side

Owner = Sequence | Group


class Rows:
    """All KV of one engine. `drops` counts the rows that were taken away, per side."""

    def __init__(self, runners: Mapping[Side, Runner], config: EngineConfig) -> None:
        self.runners = dict(runners)
        self.bytes = memory.bound(runners, config.kv_memory, config.device)
        self.limits = {s: min(r.max_length, r.bound(self.bytes[s])) for s, r in runners.items()}
        self.row_limits = RowLimits(self.runners, self.limits, self.bytes)
        self._roomy = {
            side: runner.fits([self.limits[side]] * config.max_rows)
            for side, runner in runners.items()
        }
        """All rows fit however long they get, so nobody has to ask in every step."""
        self.drops: Counter[Side] = Counter()
        self._groups: list[Group] = []
        self.idle = {side: IdleRows(runner, config.idle_rows) for side, runner in runners.items()}
        """Of requests that have ended. They give way before anybody else does."""
        self._most = config.max_rows

    def admits(self, newcomer: Sequence, active: Many[Sequence]) -> bool:
        """There is room for one more to start: nobody waits for memory, and all could grow."""
        if not active:
            return True
        everybody = [*active, newcomer]
        return self._ample(newcomer.side, everybody) and not any(one.stalled for one in active)

    def _ample(self, side: Side, active: Many[Sequence]) -> bool:
        """All who are on that side or have a row there could have all they need, and grow."""
        if self._roomy[side]:
            return True
        lengths = [s.length(side) for s in active if s.side is side or side in s.rows]
        return self.runners[side].fits(pressure.with_slack(lengths, self.limits[side]))

    def settle(self, side: Side, active: Many[Sequence]) -> list[Sequence]:
        """The sequences on that side that have room for their next step, made by taking rows from
        others if need be. The rest are marked stalled. `active`: everybody, from old to young."""
        running = list[Sequence]()
        runner, idle = self.runners[side], bool(self.idle[side])
        for sequence in active:
            if sequence.side is not side:
                continue
            running.append(sequence)
            sequence.stalled = False
            if sequence.group is not None:
                sequence.group.inherit(sequence, side, runner)
            elif idle and side not in sequence.rows:
                self._inherit(sequence, side)
        if idle:
            self._make_way(side, active)
        if not self._groups and self._ample(side, active):  # as nearly always, and this is quick
            return running
        denied, dropped = pressure.settle(
            self._claims(side, active), runner.fits, self.limits[side]
        )
        for owner in dropped:
            runner.free(owner.rows.pop(side))
            self.drops[side] += 1
        for owner in denied:
            if isinstance(owner, Sequence):
                owner.stalled = owner.side is side
        return [sequence for sequence in running if not sequence.stalled]

    def _inherit(self, sequence: Sequence, side: Side) -> None:
        """Give it the row of an ended request whose prompt began like its own."""
        space = sequence.request.reuse
        if space is not None:
            row = self.idle[side].take(sequence.request.prompts[side], space)
            if row is not None:
                sequence.rows[side] = row

    def _make_way(self, side: Side, active: Many[Sequence]) -> None:
        """Free idle rows until all others have what they need, and could grow."""
        idle, fits = self.idle[side], self.runners[side].fits
        if self._roomy[side] and len(active) + len(self._groups) + len(idle) <= self._most:
            return
        wanted = [claim.want for claim in self._claims(side, active)]
        others = pressure.with_slack(wanted, self.limits[side])
        while idle and not fits([*others, *idle.lengths]):
            idle.give_way()

    def _claims(self, side: Side, active: Many[Sequence]) -> list[Claim[Owner]]:
        runner, claims = self.runners[side], list[Claim[Owner]]()
        for sequence in active:
            row = sequence.rows.get(side)
            have = None if row is None else runner.cached(row)
            runs, oldest = sequence.side is side, sequence is active[0]
            if runs:
                claims.append(Claim(sequence, have, sequence.length(side), True, oldest))
            elif have is not None:
                claims.append(Claim(sequence, have, have, False, oldest))
        for group in self._groups:
            if side in group.rows:
                have = runner.cached(group.rows[side])
                claims.append(Claim(group, have, have, False, False))
        return claims

    def lengths(self, side: Side, active: Many[Sequence]) -> list[int]:
        """Tokens cached in every row that is open there, but for idle ones."""
        return [claim.have for claim in self._claims(side, active) if claim.have is not None]

    def row(self, sequence: Sequence, side: Side) -> Row | None:
        """The sequence's row; None while another sample is reading their prompt for all."""
        row = sequence.rows.get(side)
        if row is None:
            runner, group = self.runners[side], sequence.group
            if group:
                row = group.fork(sequence, side, runner)
                if row is None and group.reading(side):
                    return None
            row = sequence.rows[side] = runner.open() if row is None else row
        return row

    def release(self, sequence: Sequence, whole: bool = True) -> None:
        """The sequence has ended. Its rows are freed, or kept: where its group needs them, or for
        a later request. whole: no pass of it has failed."""
        group = sequence.group
        if group:
            group.leave(sequence, self.runners)
            others = [one for one in self._groups if one is not group and one.rows]
            self._groups = [*others, group] if group.rows else others
        else:
            while sequence.rows:
                side, row = sequence.rows.popitem()
                space = sequence.request.reuse
                if whole and space is not None:
                    cached = self.runners[side].cached(row)
                    self.idle[side].leave(row, tuple(sequence.unseen(side, 0, cached)), space)
                else:
                    self.runners[side].free(row)
        sequence.rows.clear()

    def abandon(self, sequence: Sequence, side: Side) -> None:
        """The sequence needs its row there no more; a side that is lost may not even free it."""
        row = sequence.rows.pop(side, None)
        if row is not None:
            with suppress(Exception):
                self.runners[side].free(row)

    def forget(self) -> None:
        """Free all idle rows; again, a side that is lost may not be able to."""
        for idle in self.idle.values():
            with suppress(Exception):
                idle.clear()

    def stats(self) -> dict[str, Any]:
        return {
            side.label: {
                "bytes": runner.nbytes,
                "bound": self.bytes[side],
                "row_tokens": self.limits[side],
                "dropped": self.drops[side],
                "pages": self._pages(side, runner),
                "idle_rows": len(self.idle[side]),
                "idle_tokens": self.idle[side].tokens,
            }
            for side, runner in self.runners.items()
        }

    def _pages(self, side: Side, runner: Runner) -> dict[str, int]:
        """What holds KV of requests in flight and of ended ones, is taken and holds none, and could
        be taken. A page is the KV of one token: rows lie in slabs or in cells, which have no larger
        unit."""
        used, taken = runner.held, runner.nbytes // runner.token_bytes
        idle = self.idle[side].tokens
        most = min(self.bytes[side] // runner.token_bytes, self._most * self.limits[side])
        return {
            "used": used - idle,
            "idle": idle,
            "reserved": max(0, taken - used),
            "free": max(0, most - taken),
        }
