"""A Runner over a GGUF model on llama.cpp: one context, rows are its sequences.

Decode, catch-up and prefill alike are one `llama_decode` of a ragged batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rstitch.engine.runner import Extend, Row, Wanted
from rstitch.engine.threads import Threads
from rstitch.llamacpp.batch import Batch
from rstitch.llamacpp.cells import Cells
from rstitch.llamacpp.context import Context, Model, Settings


class LlamaRunner:
    """Implements `rstitch.engine.runner.Runner`. Owns the model."""

    def __init__(
        self, model: Model, vocab_size: int, max_rows: int, max_length: int, settings: Settings
    ) -> None:
        self.model = model
        self.vocab_size = vocab_size
        self.max_length = max_length
        self.kv = Cells(model, max_rows, max_length, settings)
        self._batch = Batch(max_rows)
        most = settings.threads
        self._threads = Threads(most, apply=self.kv.set_threads) if settings.free else None

    def open(self) -> Row:
        return self.kv.open()

    def cached(self, row: Row) -> int:
        return self.kv.length[row]

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        counts = _counts(batch, logits)
        return self._pass(batch, counts).logits(sum(counts))

    def extend_hidden(
        self, batch: Sequence[Extend], logits: Wanted = "last"
    ) -> tuple[Tensor, Tensor]:
        """llama.cpp yields hidden states of every fed token or of none, so what nobody wants the
        states of is fed first, by itself."""
        counts = _counts(batch, logits)
        pairs = [(item, len(item.tokens) - n) for item, n in zip(batch, counts, strict=True)]
        before = {item.row: self.cached(item.row) for item in batch}
        heads = [Extend(item.row, item.tokens[:n]) for item, n in pairs if n]
        tails = [Extend(item.row, item.tokens[n:]) for item, n in pairs]
        try:
            self.kv.make_room(sum(len(item.tokens) for item in batch))  # which ends the context
            if heads:
                self._pass(heads, [0] * len(heads))
            self.kv.context.give_hidden(True)
            context, count = self._pass(tails, counts), sum(counts)
            return context.logits(count), context.hidden(count)
        except Exception:
            for row, n in before.items():
                self.kv.truncate(row, n)
            raise
        finally:
            self.kv.context.give_hidden(False)

    def _pass(self, batch: Sequence[Extend], counts: Sequence[int]) -> Context:
        """The context that has decoded it."""
        length = self.kv.length
        total = 0
        for item in batch:
            total += len(item.tokens)
            end = length[item.row] + len(item.tokens)
            if end > self.max_length:
                raise RuntimeError(f"{end} tokens exceed the {self.max_length} a row may hold")
        context = self.kv.make_room(total)
        if total > self._batch.size:
            self._batch = Batch(2 * total)
        arrays, at = self._batch, 0
        for item, wanted in zip(batch, counts, strict=True):
            at = arrays.add(item.row, length[item.row], item.tokens, wanted, at)
        try:
            self._decode(context, total)
        except Exception:
            for item in batch:  # part of them may have been cached
                context.cut(item.row, length[item.row])
            raise
        for item in batch:
            length[item.row] += len(item.tokens)
        return context

    def _decode(self, context: Context, tokens: int) -> None:
        if self._threads is None:
            context.decode(self._batch.struct)
            return
        with self._threads.chosen(tokens):
            context.decode(self._batch.struct)

    def truncate(self, row: Row, n: int) -> None:
        if not 0 <= n <= self.cached(row):
            raise ValueError(f"cannot truncate a row of {self.cached(row)} tokens to {n}")
        self.kv.truncate(row, n)

    def fork(self, row: Row, n: int) -> Row:
        copy = self.kv.fork(row)
        self.kv.truncate(copy, n)
        return copy

    def free(self, row: Row) -> None:
        self.kv.free(row)

    def set_threads(self, threads: int) -> None:
        """CPU threads of every pass from now on."""
        self._threads = None
        self.kv.set_threads(threads)

    def close(self) -> None:
        """Give KV and weights back; the runner can be used no more."""
        self.kv.close()
        self.model.close()

    # -- memory ---------------------------------------------------------------------------------

    @property
    def token_bytes(self) -> int:
        return self.kv.token_bytes

    @property
    def nbytes(self) -> int:
        return self.kv.nbytes

    @property
    def held(self) -> int:
        return self.kv.held

    def bound(self, nbytes: int) -> int:
        return self.kv.bound(nbytes)

    def fits(self, lengths: Sequence[int]) -> bool:
        return self.kv.fits(lengths)


def _counts(batch: Sequence[Extend], logits: Wanted) -> list[int]:
    """Wanted logits per row."""
    if logits == "last":
        return [1] * len(batch)
    if logits == "all":
        return [len(item.tokens) for item in batch]
    return [int(n) for n in logits]
