"""Which page belongs to whom: tables of rows, counts of how many share a page. No tensors here.

Page 0 belongs to nobody: what a fixed-size step computes for places without a token is written
there, and tables are filled up with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

SCRATCH = 0


class OutOfPages(RuntimeError):
    """The rows do not fit under the bound together; `fits` would have said so."""


class Pages:
    """Pages 1 .. count of `size` tokens each, and the rows' tables of them."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.tables: dict[int, list[int]] = {}
        self.users: Counter[int] = Counter()
        """How many rows have that page in their table."""
        self._free = list(range(count, 0, -1))

    @property
    def used(self) -> int:
        return self.count - len(self._free)

    def needed(self, tokens: int) -> int:
        """Pages of so many tokens."""
        return -(-tokens // self.size)

    def extend(self, fed: Sequence[tuple[int, int, int]]) -> list[tuple[int, int]]:
        """Have every (row, start, end) own what lies from token `start` to `end`, alone.

        Returns the pages that the caller must copy, (from, to): those that others share, as far as
        tokens before `start` are in them. Raises OutOfPages, and has changed nothing then.
        """
        missing = self._missing(fed)
        if missing > len(self._free):
            raise OutOfPages(
                f"{missing} more pages of {self.size} tokens are needed, {len(self._free)} of "
                f"{self.count} are free"
            )
        copies = []
        for row, start, end in fed:
            table = self.tables[row]
            for i in self._written(row, start, end):
                if self.users[table[i]] > 1:
                    old, table[i] = table[i], self._take()
                    self._leave([old])
                    if i * self.size < start:
                        copies.append((old, table[i]))
            table += [self._take() for _ in range(self.needed(end) - len(table))]
        return copies

    def share(self, row: int, other: int, count: int) -> None:
        """Give `other`, which has none, the first `count` pages of the row."""
        assert not self.tables[other], self.tables[other]
        self.tables[other] = self.tables[row][:count]
        self.users.update(self.tables[other])

    def cut(self, row: int, count: int) -> None:
        """Leave the row its first `count` pages."""
        self._leave(self.tables[row][count:])
        del self.tables[row][count:]

    def check_integrity(self) -> None:
        """Every page is free or in as many tables as it says, and none is both."""
        found = Counter(page for table in self.tables.values() for page in table)
        assert found == self.users, (found, self.users)
        assert sorted([*self._free, *found]) == list(range(1, self.count + 1)), self._free

    def _written(self, row: int, start: int, end: int) -> range:
        """Places in the row's table, as far as it goes, of what is written."""
        return range(start // self.size, min(self.needed(end), len(self.tables[row])))

    def _missing(self, fed: Sequence[tuple[int, int, int]]) -> int:
        """Pages that `extend` would take; of those who write to one page the last keeps it."""
        new, writers = 0, Counter[int]()
        for row, start, end in fed:
            table = self.tables[row]
            new += max(0, self.needed(end) - len(table))
            writers.update(table[i] for i in self._written(row, start, end))
        return new + sum(n - (n == self.users[page]) for page, n in writers.items())

    def _take(self) -> int:
        page = self._free.pop()
        self.users[page] = 1
        return page

    def _leave(self, pages: Iterable[int]) -> None:
        for page in pages:
            self.users[page] -= 1
            if not self.users[page]:
                del self.users[page]
                self._free.append(page)
