"""KV memory of one model on the CPU: a slab per layer, one slot per row.

A slot is contiguous, so attention reads a row's keys without a gather (page tables cost a third
more here). Slabs grow by doubling, in slots and in capacity; memory is zero-filled because masked
attention multiplies what it does not attend to by zero, and that must be finite.

A slab is a rectangle, so rows take (rows x longest row) cells, and `cells` bounds that. Where the
next doubling would break the bound, slabs are reshaped to what the open rows need instead, and rows
move to the first slots. Slabs are replaced one after the other, so that never more than one of them
is there twice: with C bytes per cell in all and c in the largest, the peak is cells x (C + c).

Rows that were forked refer to a prefix (`prefix`), and their slots hold what comes after it. All
lengths in here are those of slots unless said otherwise. A prefix takes cells too; where rows would
not fit beside it, each gets a copy of what it shares.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from rstitch.engine.prefix import Prefix, Share

MIN_CAPACITY = 256
MIN_SLOTS = 4
MIN_SHARED = 256
"""Attending a prefix costs a few operations more per layer, and slots have as many places anyhow:
shorter ones are copied."""


class OutOfCells(RuntimeError):
    """The rows do not fit under the bound together; `fits` would have said so."""


class KVSlabs:
    """Slots with their lengths, and per layer keys (slots, kv_heads, capacity, k_dim) and values.

    Layers appear when they are first written, with the shapes then seen (values may be narrower
    than keys). `length[slot]` counts the tokens in the slot, after those that `shares[slot]` has;
    everything past it is meaningless.
    """

    def __init__(self, max_slots: int, max_length: int) -> None:
        self.max_slots = max_slots
        self.max_length = max_length
        self.slots = min(MIN_SLOTS, max_slots)
        self.capacity = min(MIN_CAPACITY, max_length)
        self.cells = max_slots * max_length
        """Slots x capacity and all prefixes together at most."""
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length: dict[int, int] = {}
        self.shares: dict[int, Share] = {}
        self.prefixed = 0
        """Cells of all prefixes."""
        self.min_shared = MIN_SHARED
        self.slot_of: dict[int, int] = {}
        """For an owner whose rows keep their names where slots change: kept up to date here."""
        self._free = list(range(max_slots))
        self._reached = 0
        self._rows: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}

    def bound(self, cells: int) -> None:
        """Never more slots x capacity than this from now on; no row may be open."""
        assert not self.length, self.length
        self.cells = max(1, min(cells, self.max_slots * self.max_length))
        if self.slots * self.capacity > self.cells:
            self.layers = {}
            self._rows.clear()
            self.capacity = min(self.capacity, self.cells)
            self.slots = min(self.slots, self.cells // self.capacity)

    def limit(self, nbytes: int, token: Sequence[int]) -> int:
        """`bound` in bytes, where a token takes these in each slab: one of them is there twice
        while it grows. Returns the tokens that a row may hold when it is alone."""
        self.bound(nbytes // (sum(token) + max(token)))
        return min(self.cells, self.max_length)

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths, what they share included, can be held together.

        Which of them share is not known here, so none is taken to: prefixes can be dissolved.
        """
        longest = max(lengths, default=0)
        if len(lengths) > self.max_slots or longest > self.max_length:
            return False
        return len(lengths) * longest <= self.cells

    def cached(self, slot: int) -> int:
        """Tokens of the row, what it shares included."""
        if slot in self.shares:
            return self.shares[slot].tokens + self.length[slot]
        return self.length[slot]

    def holds(self, rows: int, tokens: int) -> bool:
        """Whether `make_room` would find it; otherwise `dissolve` can help."""
        return rows * max(tokens, *self.length.values(), 1) <= self.cells - self.prefixed

    def make_room(self, rows: int, tokens: int) -> dict[int, int]:
        """Shape the slabs for that many rows in all, one of them of that many tokens.

        Returns where open rows went, {slot: new slot}; empty unless the bound made them move.
        """
        if tokens > self.max_length:
            raise RuntimeError(f"{tokens} tokens exceed the {self.max_length} a row may hold")
        opening = rows > len(self.length)
        if opening and not self._free:
            raise RuntimeError(f"all {self.max_slots} KV slots are taken")
        slots = _doubled(self.slots, self._free[0] + 1 if opening else 0, self.max_slots)
        capacity = _doubled(self.capacity, tokens, self.max_length)
        if (slots, capacity) == (self.slots, self.capacity):
            return {}
        cells = self.cells - self.prefixed
        if slots * capacity > cells:
            longest = max(tokens, *self.length.values(), 1)
            if rows * longest > cells:
                raise OutOfCells(f"{rows} rows of {longest} tokens exceed {cells} KV cells")
            capacity = min(cells // rows, capacity)
            slots = min(cells // capacity, slots)
        return self._reshape(slots, capacity)

    def grow(self, rows: int, counts: Sequence[tuple[int, int]] = ()) -> None:
        """Make room for so many rows in all, and for what some are fed: (slot, tokens) each. Under
        a bound this moves rows, so slots are looked up after it."""
        tokens = max([self.length[slot] + count for slot, count in counts], default=0)
        if self.shares:
            whole = max([self.cached(slot) + count for slot, count in counts], default=0)
            if whole > self.max_length:
                raise RuntimeError(f"{whole} tokens exceed the {self.max_length} a row may hold")
            if not self.holds(rows, tokens):
                self.dissolve(rows, whole)
                tokens = whole
        self.make_room(rows, tokens)

    def dissolve(self, rows: int, tokens: int) -> dict[int, int]:
        """Give every row a copy of what it shares, and make room as `make_room` does; `tokens` is
        the whole length of a row."""
        longest = max(tokens, *map(self.cached, self.length), 1)
        if rows * longest > self.cells:
            raise OutOfCells(f"{rows} rows of {longest} tokens exceed {self.cells} KV cells")
        slots = _doubled(self.slots, rows, self.max_slots)
        capacity = min(self.cells // rows, _doubled(self.capacity, longest, self.max_length))
        return self._reshape(min(self.cells // capacity, slots), capacity, whole=True)

    def open(self) -> int:
        """Take the lowest free slot; where there is a bound, call `make_room` for it before.

        Raises RuntimeError when all `max_slots` are taken.
        """
        moves = self.make_room(len(self.length) + 1, 0)
        assert not moves, f"rows moved unseen: {moves}"
        slot = heapq.heappop(self._free)
        self.length[slot] = 0
        for keys, values in self.layers.values():  # an overflow of its last user must not stay
            keys[slot, :, : self._reached].zero_()
            values[slot, :, : self._reached].zero_()
        return slot

    def close(self, slot: int) -> None:
        del self.length[slot]
        self._refer(slot, None)
        heapq.heappush(self._free, slot)

    def truncate(self, slot: int, n: int) -> None:
        """Forget all but the row's first n tokens."""
        share = self.shares.get(slot)
        if share is None or n > share.tokens:
            self.length[slot] = n - (share.tokens if share else 0)
            return
        self.length[slot] = 0
        if n < share.tokens:
            self._refer(slot, Share(share.prefix, n) if n else None)

    def fork(self, slot: int, n: int) -> int:
        """A new slot whose row has the first n tokens of that one's, by reference or as a copy."""
        assert 0 <= n <= self.cached(slot), (n, self.cached(slot))
        if slot not in self.shares and n >= self.min_shared:
            self._part(slot, n)
        other, shared = self.open(), 0
        if share := self.shares.get(slot):
            shared = min(n, share.tokens)
            self._refer(other, Share(share.prefix, shared) if shared else None)
        self.length[other] = own = n - shared
        for slabs in self.layers.values() if own else ():
            for slab in slabs:
                slab[other, :, :own] = slab[slot, :, :own]
        return other

    def reserve(self, tokens: int) -> None:
        """Make room for rows of that many tokens; call before the forward pass that writes them.

        Where there is a bound, call `make_room` before.
        """
        moves = self.make_room(len(self.length), tokens)
        assert not moves, f"rows moved unseen: {moves}"
        self._reached = max(self._reached, tokens)

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The slabs of one layer, made on first use for (kv_heads, tokens, dim) keys and values."""
        if index not in self.layers:
            self.layers[index] = (self._slab(key), self._slab(value))
            self._rows.clear()
        return self.layers[index]

    def row(self, slot: int) -> dict[int, tuple[Tensor, Tensor]]:
        """One slot of every layer's slabs, as views (1, heads, capacity, dim), kept for next time.

        Building them anew takes a small model's step a tenth longer.
        """
        if slot not in self._rows:
            one = slice(slot, slot + 1)
            self._rows[slot] = {i: (k[one], v[one]) for i, (k, v) in self.layers.items()}
        return self._rows[slot]

    @property
    def nbytes(self) -> int:
        slabs = sum(k.nbytes + v.nbytes for k, v in list(self.layers.values()))
        parts = [part for one in self._prefixes() for part in list(one.parts.values())]
        return slabs + sum(part.nbytes for part in parts)

    @property
    def token_bytes(self) -> list[int]:
        """Bytes of one token in each slab; empty before there are any."""
        cells = self.slots * self.capacity
        return [slab.nbytes // cells for pair in self.layers.values() for slab in pair]

    @property
    def held(self) -> int:
        """Tokens in slots and prefixes. Like `nbytes` for any thread: whoever asks how things are
        may do so in the middle of a step."""
        return sum(list(self.length.values())) + self.prefixed

    def check_integrity(self) -> None:
        """Free and taken slots are all the slots, each once, with lengths inside the capacity;
        prefixes are those that rows refer to, and all together stays under the bound."""
        assert sorted([*self._free, *self.length]) == list(range(self.max_slots)), self._free
        assert all(0 <= n <= self.capacity for n in self.length.values()), self.length
        assert self.shares.keys() <= self.length.keys(), self.shares
        assert all(0 < share.tokens <= share.prefix.tokens for share in self.shares.values())
        referred = Counter(share.prefix for share in self.shares.values())
        assert all(prefix.rows == count for prefix, count in referred.items()), referred
        assert self.prefixed == sum(prefix.tokens for prefix in referred), self.prefixed
        assert self.slots * self.capacity + self.prefixed <= self.cells

    def _prefixes(self) -> set[Prefix]:
        return {share.prefix for share in list(self.shares.values())}

    def _refer(self, slot: int, share: Share | None) -> None:
        """The row shares this from now on, and no longer what it did."""
        if share:
            share.prefix.rows += 1
            self.prefixed += share.prefix.tokens if share.prefix.rows == 1 else 0
        old = self.shares.pop(slot, None)
        if old:
            old.prefix.rows -= 1
            self.prefixed -= 0 if old.prefix.rows else old.prefix.tokens
        if share:
            self.shares[slot] = share

    def _part(self, slot: int, n: int) -> None:
        """Move the first n tokens of a slot to a prefix, lest one more row have to copy them.
        Slabs become as narrow as their rows then allow: they had grown for what is leaving.

        Under a bound only where whole rows would fit beside the prefix: else it would soon be in
        the way of one of them, and dissolved.
        """
        longest = max(map(self.cached, self.length))
        if (len(self.length) + 1) * longest > self.cells - self.prefixed - n:
            return
        rest = max(length - n * (one == slot) for one, length in self.length.items())
        capacity = _doubled(min(MIN_CAPACITY, self.capacity), rest, self.capacity)
        capacity = min(capacity, (self.cells - self.prefixed - n) // self.slots)
        if capacity >= max(rest, 1):
            self._reshape(self.slots, capacity, parted=(slot, Prefix(n)))

    def _slab(self, like: Tensor) -> Tensor:
        heads, _, dim = like.shape
        return like.new_zeros(self.slots, heads, self.capacity, dim)

    def _reshape(
        self,
        slots: int,
        capacity: int,
        parted: tuple[int, Prefix] | None = None,
        whole: bool = False,
    ) -> dict[int, int]:
        """Replace every slab by one of that shape; rows past the last slot move to free ones.

        `parted`: that slot's first tokens become the prefix. `whole`: prefixes are copied into the
        slots of their rows, and gone.
        """
        before = self.slots, self.capacity
        moves = self._moves(slots)
        self.slots, self.capacity = slots, capacity
        self._rows.clear()  # their views would keep the old slabs alive
        try:
            for index in self.layers:
                for part in (0, 1):
                    self._replace(index, part, moves, parted, whole)
        except BaseException:  # Ctrl-C included
            self._give_up(before, bool(moves or parted or whole))
            raise
        if whole:
            self.length = {slot: self.cached(slot) for slot in self.length}
            self.shares, self.prefixed = {}, 0
        if parted:
            slot, prefix = parted
            self.length[slot] -= prefix.tokens
            self._refer(slot, Share(prefix, prefix.tokens))
        self.length = {moves.get(slot, slot): n for slot, n in self.length.items()}
        self.shares = {moves.get(slot, slot): share for slot, share in self.shares.items()}
        self.slot_of = {name: moves.get(slot, slot) for name, slot in self.slot_of.items()}
        self._free = sorted(set(range(self.max_slots)) - self.length.keys())
        return moves

    def _replace(
        self,
        index: int,
        part: int,
        moves: dict[int, int],
        parted: tuple[int, Prefix] | None,
        whole: bool,
    ) -> None:
        """One layer's keys (part 0) or values (1): never is more than one slab there twice."""
        old = self.layers[index][part]
        rows = {slot: [old[slot, :, :n]] for slot, n in self.length.items() if slot < len(old)}
        if parted:
            slot, prefix = parted
            prefix.parts[index, part] = self._copied(old, slot, prefix.tokens)
            rows[slot] = [rows[slot][0][:, prefix.tokens :]]
        for slot, share in self.shares.items() if whole else ():
            rows[slot].insert(0, share.prefix.parts[index, part][:, : share.tokens])
        new = self._grown(old, {moves.get(slot, slot): pieces for slot, pieces in rows.items()})
        keys, values = self.layers[index]
        self.layers[index] = (keys, new) if part else (new, values)
        for one in self._prefixes() if whole else ():
            del one.parts[index, part]

    def _give_up(self, before: tuple[int, int], lost: bool) -> None:
        """A slab could not be made. Slabs that only grew stay usable; others are lost, and all
        rows are empty: what they held can be computed again."""
        if lost or self.slots < before[0] or self.capacity < before[1]:
            self.layers, self.shares, self.prefixed = {}, {}, 0
            self.length = dict.fromkeys(self.length, 0)
            slots = max(self.length, default=0) + 1
            before = slots, max(1, min(MIN_CAPACITY, self.max_length, self.cells // slots))
        self.slots, self.capacity = before

    def _moves(self, slots: int) -> dict[int, int]:
        high = sorted(slot for slot in self.length if slot >= slots)
        low = [slot for slot in range(slots) if slot not in self.length]
        return dict(zip(high, low, strict=False))

    def _grown(self, old: Tensor, rows: dict[int, list[Tensor]]) -> Tensor:
        """A slab of the present shape; each slot holds its pieces (heads, tokens, dim) in order."""
        new = old.new_zeros(self.slots, old.shape[1], self.capacity, old.shape[3])
        for slot, pieces in rows.items():
            at = 0
            for piece in pieces:
                new[slot, :, at : at + piece.shape[1]] = piece
                at += piece.shape[1]
        return new

    def _copied(self, slab: Tensor, slot: int, n: int) -> Tensor:
        return slab[slot, :, :n].clone()


def _doubled(size: int, needed: int, most: int) -> int:
    while size < needed:
        size = min(2 * size, most)
    return size
