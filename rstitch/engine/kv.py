"""KV memory of one model on the CPU: a slab per layer, one slot per row.

A slot is contiguous, so attention reads a row's keys without a gather (page tables cost a third
more here). Slabs grow by doubling, in slots and in capacity; memory is zero-filled because masked
attention multiplies what it does not attend to by zero, and that must be finite.
"""

from __future__ import annotations

import heapq

from torch import Tensor

MIN_CAPACITY = 256
MIN_SLOTS = 4


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
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.length: dict[int, int] = {}
        self._free = list(range(max_slots))
        self._reached = 0
        self._rows: dict[int, dict[int, tuple[Tensor, Tensor]]] = {}

    def open(self) -> int:
        """Take the lowest free slot. Raises RuntimeError when all `max_slots` are taken."""
        if not self._free:
            raise RuntimeError(f"all {self.max_slots} KV slots are taken")
        self._reserve(slots=self._free[0] + 1)
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
        """Make room for rows of that many tokens; call before the forward pass that writes them."""
        self._reserve(capacity=tokens)
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

    def _reserve(self, slots: int = 0, capacity: int = 0) -> None:
        if capacity > self.max_length:
            raise RuntimeError(f"{capacity} tokens exceed the {self.max_length} a row may hold")
        old = self.slots, self.capacity
        while self.slots < slots:
            self.slots = min(2 * self.slots, self.max_slots)
        while self.capacity < capacity:
            self.capacity = min(2 * self.capacity, self.max_length)
        if (self.slots, self.capacity) == old:
            return
        try:
            self.layers = {i: (self._grown(k), self._grown(v)) for i, (k, v) in self.layers.items()}
            self._rows.clear()
        except Exception:  # out of memory: nothing has changed
            self.slots, self.capacity = old
            raise

    def _grown(self, old: Tensor) -> Tensor:
        slots, heads, capacity, dim = old.shape
        new = old.new_zeros(self.slots, heads, self.capacity, dim)
        for slot, n in self.length.items():
            if slot < slots and n:
                new[slot, :, :n] = old[slot, :, :n]
        return new
