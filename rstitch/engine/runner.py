"""One model with its KV memory: the only thing above which nobody knows what kind of model it is.

Decode, catch-up, prefill, speculation, rewind and groups of samples are all `extend`, `truncate`
and `fork`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

Row = int
"""Handle of one sequence's KV on one side."""

Wanted = Literal["last", "all"] | Sequence[int]
"""After which of the fed tokens logits are wanted: each row's last, every one, or for each row that
many of its last."""


@dataclass(frozen=True, slots=True)
class Extend:
    """Feed these tokens to that row."""

    row: Row
    tokens: Sequence[int]


class Runner(Protocol):
    """A model and how much of each row it has cached. Not thread-safe: one owner, the engine."""

    vocab_size: int
    """Tokens that the tokenizer really has; logits may have more columns."""
    max_length: int
    """Tokens that one row may hold."""

    def open(self) -> Row:
        """A new empty row."""
        ...

    def cached(self, row: Row) -> int:
        """Tokens of the row whose KV exists."""
        ...

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        """Feed tokens to rows in one forward pass; afterwards each row has cached them.

        Returns raw logits (rows, columns) after each row's last token, or (tokens, columns) after
        all that are wanted, row by row. Each row may occur once; no token list may be empty. If it
        raises, no row's cached length has changed.
        """
        ...

    def extend_hidden(
        self, batch: Sequence[Extend], logits: Wanted = "last"
    ) -> tuple[Tensor, Tensor]:
        """As `extend`, with the final hidden states (tokens, width) that the head reads."""
        ...

    def truncate(self, row: Row, n: int) -> None:
        """Forget all but the first n cached tokens."""
        ...

    def fork(self, row: Row) -> Row:
        """A new row that has cached the same tokens."""
        ...

    def free(self, row: Row) -> None:
        """Give the row's memory back."""
        ...
