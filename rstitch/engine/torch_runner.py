"""A Runner over a transformers model: one flat ragged batch per forward pass, KV in slabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rstitch.engine import forward
from rstitch.engine.batch import Batch, Span
from rstitch.engine.compiled import CompiledStep
from rstitch.engine.kv import KVSlabs
from rstitch.engine.runner import Extend, Row, Wanted


class TorchRunner:
    """Implements `rstitch.engine.runner.Runner` for a causal LM loaded with attention "rstitch"."""

    def __init__(
        self, model: Any, vocab_size: int, max_rows: int, max_length: int, compile: bool = False
    ) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.kv = KVSlabs(max_rows, max_length)
        self.device = next(model.parameters()).device
        self._forward = forward.choose(model)
        self._compiled = CompiledStep(model) if compile else None

    @torch.inference_mode()
    def open(self) -> Row:
        return self.kv.open()

    def cached(self, row: Row) -> int:
        return self.kv.length[row]

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        length = self.kv.length
        if self._compiled and len(batch) == 1 and logits == "last":
            (item,) = batch
            start, count = length[item.row], len(item.tokens)
            size = self._compiled.bucket(self.kv, start, count)
            if size:
                self.kv.reserve(start + size)
                with torch.inference_mode():
                    out = self._compiled(self.kv, item.row, list(item.tokens), size)
                length[item.row] = start + count
                return out
        return self._eager(self._forward, batch, logits)

    def extend_hidden(
        self, batch: Sequence[Extend], logits: Wanted = "last"
    ) -> tuple[Tensor, Tensor]:
        hidden: list[Tensor] = []

        def forward(*inputs: Any) -> Tensor:
            out, states = self._forward.with_hidden(*inputs)
            hidden.append(states[0])
            return out

        return self._eager(forward, batch, logits), hidden[0]

    def _eager(
        self, forward: Callable[..., Tensor], batch: Sequence[Extend], logits: Wanted
    ) -> Tensor:
        length = self.kv.length
        spans = [Span(item.row, length[item.row], len(item.tokens)) for item in batch]
        self.kv.reserve(max(span.end for span in spans))
        flat = [token for item in batch for token in item.tokens]
        out = self._pass(forward, flat, Batch(self.kv, spans, self.device), logits)
        for span in spans:
            length[span.slot] = span.end
        return out

    @torch.inference_mode()
    def _pass(
        self, forward: Callable[..., Tensor], flat: list[int], batch: Batch, logits: Wanted
    ) -> Tensor:
        ids = torch.tensor([flat], device=self.device)
        return forward(ids, batch.positions[None], batch, self._keep(batch, logits))[0]

    def _keep(self, batch: Batch, logits: Wanted) -> int | Tensor:
        """The wanted tokens as indexes into the flat batch, or the last n of it; 0 is all."""
        if logits == "all":
            return 0
        if len(batch.spans) == 1:
            return 1 if logits == "last" else int(logits[0])
        counts = [1] * len(batch.spans) if isinstance(logits, str) else logits
        ends = [o + s.count for o, s in zip(batch.offsets, batch.spans, strict=True)]
        kept = [i for end, n in zip(ends, counts, strict=True) for i in range(end - n, end)]
        return torch.tensor(kept, device=self.device)

    def truncate(self, row: Row, n: int) -> None:
        if not 0 <= n <= self.kv.length[row]:
            raise ValueError(f"cannot truncate a row of {self.kv.length[row]} tokens to {n}")
        self.kv.length[row] = n

    @torch.inference_mode()
    def fork(self, row: Row) -> Row:
        return self.kv.fork(row)

    def free(self, row: Row) -> None:
        self.kv.close(row)
