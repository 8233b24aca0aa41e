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

AS_NUMPY = "rst_numpy"
"""Attribute that a runner may leave on logits: the same memory as a numpy array."""


@dataclass(slots=True)
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
        raises, no row has cached more than before; out of memory, rows may have lost what they had
        cached. The tensor may be the runner's own memory: it is good until its next pass.
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

    def fork(self, row: Row, n: int) -> Row:
        """A new row that has cached the same first n tokens, shared where that is worth it."""
        ...

    def free(self, row: Row) -> None:
        """Give the row's memory back."""
        ...

    # Memory. How rows lie in it is the runner's own business, so what fits is for it to say.

    @property
    def token_bytes(self) -> int:
        """KV memory of one token."""
        ...

    @property
    def nbytes(self) -> int:
        """KV memory taken now, whether rows fill it or not."""
        ...

    @property
    def held(self) -> int:
        """Tokens whose KV is there, in all rows; of what rows share, some runners count each."""
        ...

    def bound(self, nbytes: int) -> int:
        """Never take more KV memory than this from now on, while growing included.

        Called while no row is open. Returns the tokens that a row may hold when it is alone.
        """
        ...

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether rows of these lengths, and no others, can be held together."""
        ...
