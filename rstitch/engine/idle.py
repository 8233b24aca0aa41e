"""KV of answers that have ended, kept for a request whose prompt begins in the same way.

The next turn of a chat repeats all of the last one but the answer's thoughts, which templates
strip. Reuse goes by token ids alone, so it changes no answer, only what has to be read again; but
seconds can tell that somebody asked something before, so rows stay within their owner's space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rstitch.engine.runner import Row, Runner

WORTH = 16
"""Tokens: reading fewer costs nothing that can be measured, and would take from another
conversation what is worth more."""
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Idle:
    """A row that nobody writes to now."""

    row: Row
    ids: Ids
    """What it has cached, as ids of its side."""
    space: str
    """Whoever asks in this name may have it."""


class IdleRows:
    """Those of one side, from the one left longest ago to the latest; at most so many."""

    def __init__(self, runner: Runner, most: int) -> None:
        self._runner, self._most = runner, most
        self._rows: list[Idle] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Idle]:
        return iter(self._rows)

    @property
    def lengths(self) -> list[int]:
        """Tokens cached in each."""
        return [self._runner.cached(one.row) for one in self._rows]

    @property
    def tokens(self) -> int:
        """Tokens cached in all of them; from any thread."""
        return sum(len(one.ids) for one in list(self._rows))

    def leave(self, row: Row, ids: Ids, space: str) -> None:
        """An answer has ended. Its row is kept, unless it is not worth it."""
        if self._most < 1 or len(ids) < WORTH:
            self._runner.free(row)
            return
        if len(self._rows) == self._most:
            self.give_way()
        self._rows.append(Idle(row, ids, space))

    def take(self, prompt: Ids, space: str) -> Row | None:
        """The row with the longest beginning in common with the prompt, cut back to it; of equals
        the one left longest ago. None where it is not worth it."""
        best, most = None, WORTH - 1
        for one in self._rows:
            if one.space == space and one.ids[:WORTH] == prompt[:WORTH]:
                shared = min(common(one.ids, prompt), self._runner.cached(one.row))
                if shared > most:
                    best, most = one, shared
        if best is None:
            return None
        self._rows.remove(best)
        self._runner.truncate(best.row, most)
        return best.row

    def give_way(self) -> None:
        """Free the one left longest ago."""
        self._runner.free(self._rows.pop(0).row)

    def clear(self) -> None:
        while self._rows:
            self.give_way()


def common(one: Ids, other: Ids) -> int:
    """Length of the longest common beginning, by bisection: comparing slices is quick."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
