"""KV memory of one model on the CPU: a slab per layer, one slot per row.

A slot is contiguous, so attention reads a row's keys without a gather (page tables cost a third
more here). Slabs grow by doubling, in slots and in capacity; memory is zero-filled because masked
attention multiplies what it does not attend to by zero, and that must be finite.

A slab is a rectangle, so rows take (rows x longest row) cells, and `cells` bounds that. Where the
next doubling would break the bound, slabs are reshaped to what the open rows need instead, and rows
move to the first slots. Slabs are replaced one after the other, so that never more than one of them
is there twice: with C bytes per cell in all and c in the largest, the peak is cells x (C + c).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from torch import Tensor

MIN_CAPACITY = 256
MIN_SLOTS = 4


class OutOfCells(RuntimeError):
    """The rows do not fit under the bound together; `fits` would have said so."""


class KVSlabs:
    """Slots with their lengths, and per layer keys (slots, kv_heads, capacity, k_dim) and values.

    Layers appear when they are first written, with the shapes then seen (values may be narrower
    than keys). `length[slot]` counts the cached tokens; everything past it is meaningless.
    """

    def __init__(self, max_slots: int, max_length: int) -> None:
        self.max_slots = max_slots
        self.max_length = max_length
        self.slots = min(MIN_SLOTS, max_slots)
        self.capacity = min(MIN_CAPACITY, max_length)
        self.cells = max_slots * max_length
        """Slots x capacity at most."""
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length: dict[int, int] = {}
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

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths can be held together."""
        longest = max(lengths, default=0)
        if len(lengths) > self.max_slots or longest > self.max_length:
            return False
        return len(lengths) * longest <= self.cells

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
        if slots * capacity > self.cells:
            longest = max(tokens, *self.length.values(), 1)
            if rows * longest > self.cells:
                raise OutOfCells(f"{rows} rows of {longest} tokens exceed {self.cells} KV cells")
            capacity = min(self.cells // rows, capacity)
            slots = min(self.cells // capacity, slots)
        return self._reshape(slots, capacity)

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
        heapq.heappush(self._free, slot)

    def fork(self, slot: int) -> int:
        """A new slot with a copy of the row's cached tokens."""
        n = self.length[slot]
        copy = self.open()
        for keys, values in self.layers.values():
            keys[copy, :, :n] = keys[slot, :, :n]
            values[copy, :, :n] = values[slot, :, :n]
        self.length[copy] = n
        return copy

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
        return sum(k.nbytes + v.nbytes for k, v in self.layers.values())

    def check_integrity(self) -> None:
        """Free and taken slots are all the slots, each once, with lengths inside the capacity."""
        assert sorted([*self._free, *self.length]) == list(range(self.max_slots)), self._free
        assert all(0 <= n <= self.capacity for n in self.length.values()), self.length

    def _slab(self, like: Tensor) -> Tensor:
        heads, _, dim = like.shape
        return like.new_zeros(self.slots, heads, self.capacity, dim)

    def _reshape(self, slots: int, capacity: int) -> dict[int, int]:
        """Replace every slab by one of that shape; rows past the last slot move to free ones."""
        before = self.slots, self.capacity
        moves = self._moves(slots)
        self.slots, self.capacity = slots, capacity
        self._rows.clear()  # their views would keep the old slabs alive
        try:
            for index in self.layers:
                keys = self._grown(self.layers[index][0], moves)
                self.layers[index] = keys, self.layers[index][1]
                self.layers[index] = keys, self._grown(self.layers[index][1], moves)
        except BaseException:  # Ctrl-C included
            self._give_up(before, moves)
            raise
        self.length = {moves.get(slot, slot): n for slot, n in self.length.items()}
        self.slot_of = {name: moves.get(slot, slot) for name, slot in self.slot_of.items()}
        self._free = sorted(set(range(self.max_slots)) - self.length.keys())
        return moves

    def _give_up(self, before: tuple[int, int], moves: dict[int, int]) -> None:
        """A slab could not be made. Slabs that only grew stay usable; others are lost, and all
        rows are empty: what they held can be computed again."""
        if moves or self.slots < before[0] or self.capacity < before[1]:
            self.layers = {}
            self.length = dict.fromkeys(self.length, 0)
            slots = max(self.length, default=0) + 1
            before = slots, max(1, min(MIN_CAPACITY, self.max_length, self.cells // slots))
        self.slots, self.capacity = before

    def _moves(self, slots: int) -> dict[int, int]:
        high = sorted(slot for slot in self.length if slot >= slots)
        low = [slot for slot in range(slots) if slot not in self.length]
        return dict(zip(high, low, strict=False))

    def _grown(self, old: Tensor, moves: dict[int, int]) -> Tensor:
        slots, heads, _, dim = old.shape
        new = old.new_zeros(self.slots, heads, self.capacity, dim)
        for slot, n in self.length.items():
            if slot < slots and n:
                new[moves.get(slot, slot), :, :n] = old[slot, :, :n]
        return new


def _doubled(size: int, needed: int, most: int) -> int:
    while size < needed:
        size = min(2 * size, most)
    return size
