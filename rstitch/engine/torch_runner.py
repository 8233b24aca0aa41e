"""A Runner over a transformers model: one flat ragged batch per forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from rstitch.engine.batch import Batch, Span
from rstitch.engine.compiled import CompiledStep
from rstitch.engine.forward import choose
from rstitch.engine.fused.forward import fuse
from rstitch.engine.kv import KVSlabs
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.runner import Extend, Row, Wanted
from rstitch.engine.threads import Threads


class TorchRunner:
    """Implements `rstitch.engine.runner.Runner` for a causal LM loaded with attention "rstitch"."""

    def __init__(
        self,
        model: Any,
        vocab_size: int,
        max_rows: int,
        max_length: int,
        compile: bool = False,
        threads: Threads | None = None,
        kv: KVSlabs | PagedKV | None = None,
        static: bool = False,
    ) -> None:
        """Without `threads`, passes run with as many as torch has at the time; without `kv`, KV
        lies in slabs. static: an engine decodes in steps of fixed shape, which takes pages."""
        self.threads = threads
        self.model = model
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.kv = KVSlabs(max_rows, max_length) if kv is None else kv
        self.static = static
        assert not static or isinstance(kv, PagedKV), "slabs move as they grow"
        self.device = next(model.parameters()).device
        self.forward = choose(model)
        self._compiled = CompiledStep(model) if compile else None

    def fuse(self) -> None:
        """Run with fused projections where the model is known; with KV in pages only."""
        assert isinstance(self.kv, PagedKV), self.kv
        self.forward = fuse(self.model, self.forward)

    @torch.inference_mode()
    def open(self) -> Row:
        self.kv.grow(len(self.kv.length) + 1)
        return self._named(self.kv.open())

    def cached(self, row: Row) -> int:
        return self.kv.cached(self.kv.slot_of[row])

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        kv = self.kv
        if self._compiled and len(batch) == 1 and logits == "last" and isinstance(kv, KVSlabs):
            out = self._compiled_step(self._compiled, kv, batch[0])
            if out is not None:
                return out
        return self._eager(self.forward, batch, logits)

    def extend_hidden(
        self, batch: Sequence[Extend], logits: Wanted = "last"
    ) -> tuple[Tensor, Tensor]:
        hidden: list[Tensor] = []

        def forward(*inputs: Any) -> Tensor:
            out, states = self.forward.with_hidden(*inputs)
            hidden.append(states[0])
            return out

        return self._eager(forward, batch, logits), hidden[0]

    def _eager(
        self, forward: Callable[..., Tensor], batch: Sequence[Extend], logits: Wanted
    ) -> Tensor:
        self._make_room(batch)
        slots, length = [self.kv.slot_of[item.row] for item in batch], self.kv.length
        spans = [
            Span(slot, length[slot], len(item.tokens))
            for slot, item in zip(slots, batch, strict=True)
        ]
        flat = [token for item in batch for token in item.tokens]
        out = self._pass(forward, flat, spans, logits)
        for span in spans:
            length[span.slot] = span.end
        return out

    def _compiled_step(self, compiled: CompiledStep, kv: KVSlabs, item: Extend) -> Tensor | None:
        """The pass over one row where it can be a compiled one, padding included."""
        start, count = self.cached(item.row), len(item.tokens)
        size = compiled.bucket(kv, start, count)
        if kv.slot_of[item.row] in kv.shares:  # its keys are in two pieces
            return None
        if not size or not kv.holds(len(kv.length), start + size):
            return None
        with torch.inference_mode():
            kv.make_room(len(kv.length), start + size)
            kv.reserve(start + size)
            slot = kv.slot_of[item.row]
            out = compiled(kv, slot, list(item.tokens), size)
        kv.length[slot] = start + count
        return out

    @torch.inference_mode()
    def _pass(
        self, forward: Callable[..., Tensor], flat: list[int], spans: list[Span], logits: Wanted
    ) -> Tensor:
        ids, batch = torch.tensor([flat], device=self.device), self._batch(self.kv, spans)
        with self.threads.chosen(len(flat)) if self.threads else nullcontext():
            return forward(ids, batch.positions[None], batch, self._keep(spans, logits))[0]

    def _batch(self, kv: KVSlabs | PagedKV, spans: list[Span]) -> Batch | PagedBatch:
        if isinstance(kv, PagedKV):
            return PagedBatch.of(kv, spans, self.device)
        kv.reserve(max(span.end for span in spans))
        return Batch(kv, spans, self.device)

    def _keep(self, spans: list[Span], logits: Wanted) -> int | Tensor:
        """The wanted tokens as indexes into the flat batch, or the last n of it; 0 is all."""
        if logits == "all":
            return 0
        if len(spans) == 1:
            return 1 if logits == "last" else int(logits[0])
        counts = [1] * len(spans) if isinstance(logits, str) else logits
        ends = accumulate(span.count for span in spans)
        kept = [i for end, n in zip(ends, counts, strict=True) for i in range(end - n, end)]
        return torch.tensor(kept, device=self.device)

    def truncate(self, row: Row, n: int) -> None:
        if not 0 <= n <= self.cached(row):
            raise ValueError(f"cannot truncate a row of {self.cached(row)} tokens to {n}")
        self.kv.truncate(self.kv.slot_of[row], n)

    @torch.inference_mode()
    def fork(self, row: Row, n: int) -> Row:
        self.kv.grow(len(self.kv.length) + 1)
        return self._named(self.kv.fork(self.kv.slot_of[row], n))

    def free(self, row: Row) -> None:
        self.kv.close(self.kv.slot_of.pop(row))

    # -- memory ---------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        return self.kv.nbytes

    @property
    def held(self) -> int:
        return self.kv.held

    @cached_property
    def token_bytes(self) -> int:
        return sum(self._cell)

    def bound(self, nbytes: int) -> int:
        return self.kv.limit(nbytes, self._cell)

    def fits(self, lengths: Sequence[int]) -> bool:
        return self.kv.fits(lengths)

    @cached_property
    @torch.inference_mode()
    def _cell(self) -> list[int]:
        """Bytes per token of every slab, from a pass over one token in memory of its own."""
        memory = type(self.kv)(1, 1)
        slot = memory.open()
        memory.grow(1, [(slot, 1)])
        batch = self._batch(memory, [Span(slot, 0, 1)])
        ids = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self.forward(ids, batch.positions[None], batch, 1)
        return memory.token_bytes

    @torch.inference_mode()
    def _make_room(self, batch: Sequence[Extend]) -> None:
        kv = self.kv
        kv.grow(len(kv.length), [(kv.slot_of[item.row], len(item.tokens)) for item in batch])

    def _named(self, slot: int) -> Row:
        """A handle for the row in that slot: the slot itself, unless one that moved has it."""
        row = slot if slot not in self.kv.slot_of else max(self.kv.slot_of) + 1
        self.kv.slot_of[row] = slot
        return row
