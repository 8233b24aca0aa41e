"""The beginning that several rows have in common, held once: the KV of their prompt.

It lies outside the slabs, exactly as long as it is, since a slab would give it a slot as long as
the longest row's. It is never written again, and gone when the last row that refers to it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(slots=True, eq=False)
class Prefix:
    tokens: int
    parts: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    """(kv_heads, tokens, dim) of layer i's keys as (i, 0), of its values as (i, 1)."""
    rows: int = 0
    """How many refer to it."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one row has of a prefix: its first tokens, before those in the row's own slot."""

    prefix: Prefix
    tokens: int
