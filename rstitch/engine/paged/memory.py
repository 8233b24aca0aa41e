"""KV memory in pages: a pool per layer (pages, page_size, kv_heads, dim), a table of pages per row.

A pool is made once and never moves, since captured graphs write to its address. Rows that were
forked share whole pages, and the last of them until one writes to it. What `KVSlabs` is to the
runner on the CPU this is on CUDA: the same methods, in which a row's slot is no place but a name.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from rstitch.engine.paged.pages import OutOfPages, Pages

PAGE = 16
"""Tokens of a page."""


class PagedKV:
    """Slots with their lengths, and per layer pools of keys and values, made on first use."""

    def __init__(self, max_slots: int, max_length: int, page: int = PAGE) -> None:
        self.max_slots = max_slots
        self.max_length = max_length
        self.page = page
        self.pages = Pages(max_slots * -(-max_length // page), page)
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length: dict[int, int] = {}
        """Tokens by slot; in the pages after them, everything is meaningless."""
        self.slot_of: dict[int, int] = {}
        """For an owner whose rows have names of their own."""
        self.changes = 0
        """Counts what may give pages to others."""
        self.moves = 0
        """Counts what gives pools another place, after which captured graphs are void."""
        self._free = list(range(max_slots))

    # -- how much -------------------------------------------------------------------------------

    def limit(self, nbytes: int, token: Sequence[int]) -> int:
        """Never take more than that from now on, where a token takes these bytes in each pool; no
        row may be open. Returns the tokens that a row may hold when it is alone."""
        assert not self.length, self.length
        most = self.max_slots * -(-self.max_length // self.page)
        count = max(1, min(most, nbytes // (sum(token) * self.page) - 1))
        if count != self.pages.count:
            self.pages, self.layers = Pages(count, self.page), {}
            self.moves += 1
        return min(count * self.page, self.max_length)

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths can be held together, if none shares a page."""
        if len(lengths) > self.max_slots or max(lengths, default=0) > self.max_length:
            return False
        return sum(map(self.pages.needed, lengths)) <= self.pages.count

    @property
    def nbytes(self) -> int:
        return sum(k.nbytes + v.nbytes for k, v in list(self.layers.values()))

    @property
    def held(self) -> int:
        """Tokens of all rows; what rows share counts for each."""
        return sum(list(self.length.values()))

    @property
    def token_bytes(self) -> list[int]:
        """Bytes of one token in each pool; empty before there are any."""
        cells = (self.pages.count + 1) * self.page
        return [pool.nbytes // cells for pair in self.layers.values() for pool in pair]

    # -- rows -----------------------------------------------------------------------------------

    def grow(self, rows: int, counts: Sequence[tuple[int, int]] = ()) -> None:
        """Make room for so many rows in all, and for what some are fed: (slot, tokens) each."""
        self.changes += 1
        fed = [(slot, self.length[slot], self.length[slot] + n) for slot, n in counts]
        longest = max([end for *_, end in fed], default=0)
        if longest > self.max_length:
            raise RuntimeError(f"{longest} tokens exceed the {self.max_length} a row may hold")
        if rows > self.max_slots:
            raise RuntimeError(f"all {self.max_slots} KV slots are taken")
        try:
            copies = self.pages.extend(fed)
        except OutOfPages:  # what was reserved for tokens that never came
            for slot, length in self.length.items():
                self.pages.cut(slot, self.pages.needed(length))
            copies = self.pages.extend(fed)
        if copies:
            self._copy(copies)

    def open(self) -> int:
        """Raises RuntimeError when all `max_slots` are taken."""
        if not self._free:
            raise RuntimeError(f"all {self.max_slots} KV slots are taken")
        self.changes += 1
        slot = heapq.heappop(self._free)
        self.length[slot], self.pages.tables[slot] = 0, []
        return slot

    def close(self, slot: int) -> None:
        self.changes += 1
        del self.length[slot]
        self.pages.cut(slot, 0)
        del self.pages.tables[slot]
        heapq.heappush(self._free, slot)

    def cached(self, slot: int) -> int:
        return self.length[slot]

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the row's first n tokens."""
        self.changes += 1
        self.length[slot] = n
        self.pages.cut(slot, self.pages.needed(n))

    def fork(self, slot: int, n: int) -> int:
        """A new slot that shares the first n tokens of that one's pages."""
        assert 0 <= n <= self.length[slot], (n, self.length[slot])
        other = self.open()
        self.pages.share(slot, other, self.pages.needed(n))
        self.length[other] = n
        return other

    # -- tensors --------------------------------------------------------------------------------

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The pools of one layer, made on first use for keys and values (tokens, heads, dim)."""
        if index not in self.layers:
            self.layers[index] = (self._pool(key), self._pool(value))
        return self.layers[index]

    def pools(self, index: int, like: Tensor, heads: int, dim: int) -> tuple[Tensor, Tensor]:
        """`layer` for who has no keys yet: of that shape, in the precision of `like`."""
        if index not in self.layers:
            shape = like.new_empty(0, heads, dim)
            self.layer(index, shape, shape)
        return self.layers[index]

    def table(self, slots: Sequence[int], width: int | None = None) -> list[list[int]]:
        """The slots' tables, filled up with page 0 to that width, or to the longest of them."""
        tables = [self.pages.tables[slot] for slot in slots]
        most = max([1, *map(len, tables)]) if width is None else width
        return [table[:most] + [0] * (most - len(table)) for table in tables]

    def cells(self, slot: int, start: int, end: int) -> list[int]:
        """Where those tokens lie in a pool whose first two dimensions are one."""
        table, size = self.pages.tables[slot], self.page
        return [table[at // size] * size + at % size for at in range(start, end)]

    def check_integrity(self) -> None:
        """Slots are free or taken, pages are counted right and hold what lengths say."""
        assert sorted([*self._free, *self.length]) == list(range(self.max_slots)), self._free
        assert self.pages.tables.keys() == self.length.keys(), self.pages.tables
        for slot, n in self.length.items():
            assert self.pages.needed(n) <= len(self.pages.tables[slot]), (slot, n)
        self.pages.check_integrity()

    def _pool(self, like: Tensor) -> Tensor:
        _, heads, dim = like.shape
        return like.new_zeros(self.pages.count + 1, self.page, heads, dim)

    def _copy(self, pages: list[tuple[int, int]]) -> None:
        for pair in self.layers.values():
            for pool in pair:
                old, new = torch.tensor(pages, device=pool.device).unbind(1)
                pool[new] = pool[old]
