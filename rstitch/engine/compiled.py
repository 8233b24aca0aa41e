"""Single-row steps through torch.compile: decode and short catch-ups at a few fixed sizes.

Small models are bound by Python and kernel launches, not by arithmetic, and a compiled step removes
most of both. Shapes are kept static so that nothing compiles again while decoding: tokens are
padded to a bucket, and attention runs over the row's whole capacity under a mask. What the padding
writes lies past the row's length and is overwritten before it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rstitch.engine.kv import KVSlabs

BUCKETS = (1, 2, 4, 8, 16)
RECOMPILES = 64
"""Both sides, all buckets, and the capacities that a row grows through."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """The one row of a compiled pass: its part of every slab, and where the tokens go."""

    layers: dict[int, tuple[Tensor, Tensor]]
    """Keys and values (1, kv_heads, capacity, dim) per layer."""
    positions: Tensor
    """int64 (bucket,)."""


class CompiledStep:
    """Compiles on first use of a bucket, and again when the KV capacity has grown."""

    def __init__(self, model: Any) -> None:
        # Dynamo counts per code object, which both sides of a pair share: at its limit of 8 the
        # side that is compiled second would silently stay eager.
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, RECOMPILES)
        self._forward: Callable[..., Any] = torch.compile(model.forward, dynamic=False)

    def bucket(self, kv: KVSlabs, start: int, count: int) -> int | None:
        """Padded size for feeding `count` tokens at `start`, or None where a pass must be eager."""
        size = next((b for b in BUCKETS if b >= count), None)
        if size is None or not kv.layers or start + size > kv.max_length:
            return None
        return size

    def __call__(self, kv: KVSlabs, slot: int, tokens: list[int], size: int) -> Tensor:
        """Raw logits (1, columns) after the last token. The caller has reserved `size` tokens."""
        start, count = kv.length[slot], len(tokens)
        positions = torch.arange(start, start + size)
        logits: Tensor = self._forward(
            input_ids=torch.tensor([tokens + tokens[-1:] * (size - count)]),
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.tensor([count - 1]),
            rst_batch=RowBatch(kv.row(slot), positions),
        ).logits
        return logits[0]
