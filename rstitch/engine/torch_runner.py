"""A Runner over a transformers model: one flat ragged batch per forward pass, KV in slabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rstitch.engine import forward
from rstitch.engine.batch import Batch, Span
from rstitch.engine.compiled import CompiledStep
from rstitch.engine.kv import KVSlabs
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
    ) -> None:
        """Without `threads`, passes run with as many as torch has at the time."""
        self.threads = threads
        self.model = model
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.kv = KVSlabs(max_rows, max_length)
        self.device = next(model.parameters()).device
        self._forward = forward.choose(model)
        self._compiled = CompiledStep(model) if compile else None

    @torch.inference_mode()
    def open(self) -> Row:
        self._make_room(len(self.kv.length) + 1)
        return self._named(self.kv.open())

    def cached(self, row: Row) -> int:
        return self.kv.cached(self.kv.slot_of[row])

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        if self._compiled and len(batch) == 1 and logits == "last":
            out = self._compiled_step(self._compiled, batch[0])
            if out is not None:
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
        self._make_room(len(self.kv.length), batch)
        slots, length = [self.kv.slot_of[item.row] for item in batch], self.kv.length
        spans = [
            Span(slot, length[slot], len(item.tokens))
            for slot, item in zip(slots, batch, strict=True)
        ]
        self.kv.reserve(max(span.end for span in spans))
        flat = [token for item in batch for token in item.tokens]
        out = self._pass(forward, flat, Batch(self.kv, spans, self.device), logits)
        for span in spans:
            length[span.slot] = span.end
        return out

    def _compiled_step(self, compiled: CompiledStep, item: Extend) -> Tensor | None:
        """The pass over one row where it can be a compiled one, padding included."""
        start, count = self.cached(item.row), len(item.tokens)
        size = compiled.bucket(self.kv, start, count)
        if self.kv.slot_of[item.row] in self.kv.shares:  # its keys are in two pieces
            return None
        if not size or not self.kv.holds(len(self.kv.length), start + size):
            return None
        with torch.inference_mode():
            self.kv.make_room(len(self.kv.length), start + size)
            self.kv.reserve(start + size)
            slot = self.kv.slot_of[item.row]
            out = compiled(self.kv, slot, list(item.tokens), size)
        self.kv.length[slot] = start + count
        return out

    @torch.inference_mode()
    def _pass(
        self, forward: Callable[..., Tensor], flat: list[int], batch: Batch, logits: Wanted
    ) -> Tensor:
        ids = torch.tensor([flat], device=self.device)
        with self.threads.chosen(len(flat)) if self.threads else nullcontext():
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
        if not 0 <= n <= self.cached(row):
            raise ValueError(f"cannot truncate a row of {self.cached(row)} tokens to {n}")
        self.kv.truncate(self.kv.slot_of[row], n)

    @torch.inference_mode()
    def fork(self, row: Row, n: int) -> Row:
        self._make_room(len(self.kv.length) + 1)
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
        self.kv.bound(nbytes // (sum(self._cell) + max(self._cell)))
        return min(self.kv.cells, self.max_length)

    def fits(self, lengths: Sequence[int]) -> bool:
        return self.kv.fits(lengths)

    @cached_property
    @torch.inference_mode()
    def _cell(self) -> list[int]:
        """Bytes per token of every slab, from a pass over one token in memory of its own."""
        memory = KVSlabs(1, 1)
        batch = Batch(memory, [Span(memory.open(), 0, 1)], self.device)
        ids = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self._forward(ids, batch.positions[None], batch, 1)
        return [slab.nbytes for pair in memory.layers.values() for slab in pair]

    @torch.inference_mode()
    def _make_room(self, rows: int, batch: Sequence[Extend] = ()) -> None:
        """For so many rows in all, and what is fed to some. Under a bound this moves rows, so slots
        are looked up after it."""
        kv, counts = self.kv, [(self.kv.slot_of[item.row], len(item.tokens)) for item in batch]
        tokens = max([kv.length[slot] + count for slot, count in counts], default=0)
        if kv.shares:
            whole = max([kv.cached(slot) + count for slot, count in counts], default=0)
            if whole > kv.max_length:
                raise RuntimeError(f"{whole} tokens exceed the {kv.max_length} a row may hold")
            if not kv.holds(rows, tokens):
                kv.dissolve(rows, whole)
                tokens = whole
        kv.make_room(rows, tokens)

    def _named(self, slot: int) -> Row:
        """A handle for the row in that slot: the slot itself, unless one that moved has it."""
        row = slot if slot not in self.kv.slot_of else max(self.kv.slot_of) + 1
        self.kv.slot_of[row] = slot
        return row
