"""A model whose every distribution depends on every token it has cached.

What a row has lost, got twice or taken from another row shows in the next token. Memory is
bounded either token by token, as with pages, or as a rectangle, as with slabs.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.runner import Extend, Wanted
from rstitch.types import Side
from tests.fakes import EOS, VOCAB, Scripted, says, sure, unsure

CONTEXT = 64
GIB = 2**30


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Hashed(Scripted):
    """Ends an answer with odds of 1 in 20, is unsure of 3 in 10 tokens. A step takes 1 + 0.01 rows
    seconds on the SLM, five times as long on the LLM."""

    def __init__(self, side: Side, clock: Clock, rows: int, rectangle: bool) -> None:
        super().__init__(says(), 0, CONTEXT, rows)
        self.side, self.clock, self.rectangle = side, clock, rectangle
        self.fed: list[int] = []
        """Rows of the last pass."""

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        super().extend(batch, logits)
        self.fed = [item.row for item in batch]
        self.clock.now += (5 if self.side is Side.LLM else 1) * (1 + 0.01 * len(batch))
        ids = [self.ids[item.row] for item in batch]
        return torch.stack(
            [
                self.says(one[: end + 1])
                for one, count in zip(ids, self.wanted[-1], strict=True)
                for end in range(len(one) - count, len(one))
            ]
        )

    def says(self, ids: list[int]) -> Tensor:
        number = zlib.crc32(bytes([self.side, *ids]))
        token = EOS if number % 20 == 0 else 2 + number % (VOCAB - 2)
        return unsure(token) if number // 1000 % 10 < 3 else sure(token)

    def fits(self, lengths: Sequence[int]) -> bool:
        longest = max(lengths, default=0)
        if longest > self.max_length:
            return False
        if self.rectangle:
            return len(lengths) <= self.rows and len(lengths) * longest <= self.cells
        return super().fits(lengths)


def hashed(tokens: int | None = None, rectangle: bool = False, **settings: Any) -> InProcessEngine:
    """An engine on two of them, with memory for that many tokens on each side."""
    gib = None if tokens is None else 2 * tokens / GIB
    config = EngineConfig(
        **{"max_rows": 6, "measure_costs": False, "kv_memory": gib or 1.0, **settings}
    )
    clock = Clock()
    runners = {side: Hashed(side, clock, config.max_rows, rectangle) for side in Side}
    return InProcessEngine(runners, frozenset({EOS}), config, None, clock)
