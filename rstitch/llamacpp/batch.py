"""The tokens of one pass, as llama.cpp wants them: parallel arrays, filled anew for each pass."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import repeat

from rstitch.llamacpp.library import library

MOST_ROWS = 256
"""llama.cpp's own bound."""

_ROWS = (ctypes.c_int32 * MOST_ROWS)(*range(MOST_ROWS))
_FIRST = ctypes.addressof(_ROWS)
_WIDTH = ctypes.sizeof(ctypes.c_int32)


class Batch:
    """Room for a number of tokens. `add` rows one behind the other, then pass on `struct`."""

    def __init__(self, size: int) -> None:
        api = library()
        self.size = size
        self._tokens = (ctypes.c_int32 * size)()
        self._positions = (ctypes.c_int32 * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        self._rows = (ctypes.c_void_p * size)()
        """Where the number of each token's row stands."""
        self._wanted = (ctypes.c_int8 * size)()
        pointers = ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))
        self.struct = api.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=ctypes.cast(self._rows, pointers),
            logits=self._wanted,
        )

    def add(self, row: int, start: int, tokens: Sequence[int], wanted: int, at: int = 0) -> int:
        """Tokens of a row from position `start` on; logits are wanted after the last `wanted`.

        at: their place in the batch, whose first row begins it anew. Returns the next one's.
        """
        count = len(tokens)
        end = at + count
        if count == 1:  # nearly always, and slices cost more
            self._tokens[at], self._positions[at] = tokens[0], start
            self._rows[at], self._wanted[at] = _FIRST + _WIDTH * row, wanted
        else:
            self._tokens[at:end] = list(tokens)
            self._positions[at:end] = list(range(start, start + count))
            self._rows[at:end] = [_FIRST + _WIDTH * row] * count
            self._wanted[at:end] = [*repeat(0, count - wanted), *repeat(1, wanted)]
        self.struct.n_tokens = end
        return end
