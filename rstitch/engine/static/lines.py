"""What steps of fixed shape read and write: one line per row, at addresses that never change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T", int, float)

STATE = 16
"""Numbers that a policy may remember; who remembers more takes the ordinary path."""
MOST = 8
"""Steps between two looks of the host at most."""
ACTIVE, STAYS, TOKEN, LOGPROB, NEXT, KEEP, ENTROPY, NAMED = range(8)
"""Columns of the record; from NAMED on the signals that are recorded, then the policy's memory."""
SIGNALS = 4
COLUMNS = NAMED + SIGNALS + STATE
WHOLE = ("active", "start", "place", "left", "seed", "count", "top_k", "stops")
REAL = ("temperature", "top_p", "min_p")


@dataclass(frozen=True, slots=True)
class Line:
    """One row's part of a block, as the host fills it in; all zeros where nobody is."""

    tokens: Sequence[int] = (0,)
    """To feed first."""
    active: bool = False
    start: int = 0
    """Tokens cached before them."""
    place: int = 0
    """Tokens of the answer so far: what its noise depends on, beside the seed."""
    left: int = 0
    """Tokens that it may still keep."""
    seed: int = 0
    stops: bool = False
    """End-of-text tokens end it."""
    temperature: float = 0.0
    top_k: int = 1
    top_p: float = 1.0
    min_p: float = 0.0
    state: Sequence[float] = ()
    pages: Sequence[int] = ()

    @property
    def count(self) -> int:
        return len(self.tokens)

    def whole(self) -> list[int]:
        return [int(getattr(self, name)) for name in WHOLE]

    def real(self) -> list[float]:
        return [float(getattr(self, name)) for name in REAL] + _filled(self.state, STATE, 0.0)


class Lines:
    """Buffers for so many rows, each with room for `width` tokens to begin with and for a table of
    so many pages. What changes with every block lies in few tensors, so few copies upload it."""

    def __init__(self, rows: int, width: int, pages: int, device: torch.device) -> None:
        self.rows, self.width, self.pages = rows, width, pages
        self._pinned = device.type == "cuda"

        def zeros(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._ints = zeros(torch.int64, rows, len(WHOLE))
        self.fed = zeros(torch.int64, rows, width)
        """What the block begins with; later steps feed its first column."""
        self._floats = zeros(torch.float32, rows, len(REAL) + STATE)
        self.table = zeros(torch.int32, rows, pages)
        self.record = zeros(torch.float64, MOST, rows, COLUMNS)
        self._laid: list[list[int]] = []
        self.at = zeros(torch.int64, 1)
        """Which step of the block comes next."""
        whole, real = self._ints.unbind(1), self._floats.unbind(1)
        self.active, self.start, self.place, self.left = whole[:4]
        self.seed, self.count, self.top_k, self.stops = whole[4:]
        self.temperature, self.top_p, self.min_p = real[:3]
        self.state = self._floats[:, len(REAL) :]
        self._seen = torch.zeros(self.record.shape, dtype=torch.float64, pin_memory=self._pinned)
        self._done = torch.cuda.Event() if self._pinned else None

    def rest(self) -> None:
        """No row is active: whatever runs now writes to the page of nobody."""
        self.fill([])

    @torch.inference_mode()
    def fill(self, lines: Sequence[Line], width: int = 1) -> None:
        """Make these the first lines, the others rest; a block begins. width: of its first step."""
        all_lines = [*lines, *[Line()] * (self.rows - len(lines))]
        self._upload(self._ints, [line.whole() for line in all_lines])
        self._upload(self.fed[:, :width], [_filled(o.tokens, width, 0) for o in all_lines])
        self._upload(self._floats, [line.real() for line in all_lines])
        self.lay([line.pages for line in lines])
        self.at.zero_()

    @torch.inference_mode()
    def lay(self, tables: Sequence[Sequence[int]]) -> None:
        """The first rows' pages; all other rows have the page of nobody. They change every few
        dozen steps only."""
        if tables == self._laid:
            return
        self._laid = [list(table) for table in tables]
        blank = [[0] * self.pages] * (self.rows - len(tables))
        self._upload(self.table, [_filled(table, self.pages, 0) for table in tables] + blank)

    @torch.inference_mode()
    def send(self, steps: int) -> None:
        """Have the device copy what so many steps recorded, once they are done."""
        self._seen[:steps].copy_(self.record[:steps], non_blocking=True)
        if self._done:
            self._done.record()

    def seen(self, steps: int) -> list[list[list[float]]]:
        """Wait for that copy: by step, by row, by column."""
        if self._done:
            self._done.synchronize()
        found: list[list[list[float]]] = self._seen[:steps].tolist()
        return found

    def _upload(self, to: Tensor, rows: Sequence[Sequence[float]]) -> None:
        made = torch.tensor(rows, dtype=to.dtype)
        to.copy_(made.pin_memory() if self._pinned else made, non_blocking=True)


def _filled(values: Sequence[T], width: int, blank: T) -> list[T]:
    return list(values) + [blank] * (width - len(values))
