"""KV memory of one model on llama.cpp: rows are sequences of one context, which grows by doubling.

All rows share the cells, so it is their sum that counts; a fork shares the cells of what it forks.
llama.cpp fixes a context's size, so growing means a larger one, into which the rows are copied. As
both are there meanwhile, a bound leaves a third of itself for that, except where everything is so
small that it is taken at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rstitch.llamacpp.context import PAGE, Context, Model, Settings

START_BYTES, START_CELLS = 32 * 2**20, 2048
"""The first context takes the larger of these, so that most never grow."""


class OutOfCells(RuntimeError):
    """The rows do not fit under the bound together; `fits` would have said so."""


class Cells:
    """Rows with their lengths. `length[row]` counts the cached tokens."""

    def __init__(self, model: Model, max_rows: int, max_length: int, settings: Settings) -> None:
        self.model, self.max_rows, self.max_length = model, max_rows, max_length
        self.settings = settings
        self.length: dict[int, int] = {}
        self.most = rounded_up(max_rows * max_length)
        """Cells of the largest context that there may ever be."""
        self._context: Context | None = None
        self.token_bytes = self._measured()
        self._start = max(START_CELLS, START_BYTES // self.token_bytes // PAGE * PAGE)

    @property
    def context(self) -> Context:
        """Made when first needed, since a bound may come before."""
        if self._context is None:
            self._context = self._made(min(self._start, self.most))
        return self._context

    @property
    def nbytes(self) -> int:
        return self._context.cells * self.token_bytes if self._context else 0

    @property
    def held(self) -> int:
        """Tokens of all rows; what two share counts twice."""
        return sum(list(self.length.values()))

    def bound(self, nbytes: int) -> int:
        """Never take more than that from now on; no row may be open. Returns a row's limit."""
        assert not self.length, self.length
        allowed = nbytes // self.token_bytes // PAGE * PAGE
        if allowed > self._start:
            allowed = max(self._start, allowed * 2 // 3 // PAGE * PAGE)
        self.most = min(rounded_up(self.max_rows * self.max_length), allowed)
        self.close()
        return min(self.most, self.max_length)

    def fits(self, lengths: Sequence[int]) -> bool:
        longest = max(lengths, default=0)
        if len(lengths) > self.max_rows or longest > self.max_length:
            return False
        return sum(lengths) <= self.most

    def open(self) -> int:
        if len(self.length) == self.max_rows:
            raise RuntimeError(f"all {self.max_rows} rows are taken")
        row = next(i for i in range(self.max_rows) if i not in self.length)
        self.length[row] = 0
        return row

    def fork(self, row: int) -> int:
        n = self.length[row]
        copy = self.open()
        if n:
            self.context.copy(row, copy)
        self.length[copy] = n
        return copy

    def truncate(self, row: int, n: int) -> None:
        if n < self.length[row]:
            self.context.cut(row, n)
        self.length[row] = n

    def free(self, row: int) -> None:
        if self.length.pop(row):
            self.context.cut(row, 0)

    def make_room(self, more: int) -> Context:
        """The context, in which rows may hold that many tokens more, in sum."""
        needed, context = sum(self.length.values()) + more, self.context
        if needed <= context.cells:
            return context
        if needed > self.most:
            raise OutOfCells(f"{needed} tokens exceed {self.most} KV cells")
        larger = self._made(min(self.most, max(rounded_up(needed), 2 * context.cells)))
        try:
            for row, n in self.length.items():
                if n:
                    context.move(row, larger)
        except Exception:
            larger.close()
            raise
        context.close()
        self._context = larger
        return larger

    def set_threads(self, threads: int) -> None:
        """For the context that is there and for those that follow it."""
        self.settings = replace(self.settings, threads=threads)
        if self._context:
            self._context.set_threads(threads)

    def close(self) -> None:
        if self._context:
            self._context.close()
            self._context = None

    def check_integrity(self) -> None:
        """llama.cpp has cached of each row what we think, and nothing of rows that are free."""
        if self._context is None:
            assert not any(self.length.values()), self.length
            return
        for row in range(self.max_rows):
            have, want = self._context.length(row), self.length.get(row, 0)
            assert have == want, f"row {row}: llama.cpp has {have} tokens, we think {want}"

    def _made(self, cells: int) -> Context:
        return Context(self.model, cells, self.max_rows, self.settings)

    def _measured(self) -> int:
        """What a token takes, by what llama.cpp would save of it."""
        from rstitch.llamacpp.batch import Batch

        context, sizes = self._made(PAGE), []
        try:
            for position in range(2):
                batch = Batch(1)
                batch.add(0, position, [0], 0)
                context.decode(batch.struct)
                sizes.append(context.state_bytes(0))
        finally:
            context.close()
        return sizes[1] - sizes[0]


def rounded_up(cells: int) -> int:
    return -(-cells // PAGE) * PAGE
