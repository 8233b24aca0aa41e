"""What one forward pass has to do, as far as its price depends on it: sums over its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CATCH_UP = 16
"""Tokens a row up to which a pass is a catch-up; the engine's waiting table draws the line there
too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Of one pass. A row feeds n tokens (the paper's N_inf) and has k cached before (N_kv)."""

    rows: int
    tokens: int
    """Sum of n."""
    cached: int
    """Sum of k."""
    squares: int
    """Sum of n^2."""
    cross: int
    """Sum of n k."""
    widest: int
    """Largest n."""
    longest: int
    """Largest n + k."""

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int]]) -> Shape:
        """From (n, k) of each row; there must be one."""
        count = tokens = cached = squares = cross = widest = longest = 0
        for n, k in rows:
            count += 1
            tokens += n
            cached += k
            squares += n * n
            cross += n * k
            widest = max(widest, n)
            longest = max(longest, n + k)
        assert count and widest, "a pass feeds something"
        return cls(count, tokens, cached, squares, cross, widest, longest)

    @classmethod
    def even(cls, rows: int, n: int, k: int) -> Shape:
        """All rows alike."""
        return cls(rows, rows * n, rows * k, rows * n * n, rows * n * k, n, n + k)
