"""Whose KV stays when not everybody's fits.

Rows are ranked: the oldest request's, then active rows (their request is on this side now), then
parked ones, each from old to young, last a prompt that only waits for further samples. The lowest
ranks give way until the rest fits. The first rank never does, so the oldest request goes on
whatever the others do; as nobody becomes younger, each is the oldest one day, and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

SLACK = 16
"""Tokens by which every row must be able to grow before one more is let in: a row that would have
to give way again at once had better wait."""

Owner = TypeVar("Owner")
Fits = Callable[[Sequence[int]], bool]


@dataclass(frozen=True, slots=True)
class Claim(Generic[Owner]):
    """What the owner of a row has in one side's memory, and what it needs there."""

    owner: Owner
    have: int | None
    """Tokens cached; None without a row."""
    want: int
    """Tokens that its next step needs; for a parked row what it has."""
    active: bool
    oldest: bool
    """Of the oldest request in flight."""


def settle(
    claims: Sequence[Claim[Owner]], fits: Fits, most: int
) -> tuple[list[Owner], list[Owner]]:
    """(those who cannot have what they want, those of them who lose what they have).

    `claims` come from old to young; `most` is what a row may ever hold. The first rank always gets
    what it wants, since a request that would not fit alone was refused.
    """
    ranked = sorted(claims, key=lambda claim: (not claim.oldest, not claim.active))
    denied = []
    while len(ranked) > 1 and not _fit(ranked, fits, most):
        denied.append(ranked.pop())
    lengths, dropped = [claim.want for claim in ranked], []
    for claim in reversed(denied):
        if claim.have is not None and fits([*lengths, claim.have]):
            lengths.append(claim.have)
        elif claim.have is not None:
            dropped.append(claim.owner)
    return [claim.owner for claim in denied], dropped


def _fit(ranked: Sequence[Claim[Owner]], fits: Fits, most: int) -> bool:
    enters = any(claim.have is None for claim in ranked[1:])
    return fits(with_slack([claim.want for claim in ranked], most if enters else 0))


def with_slack(lengths: Sequence[int], most: int) -> list[int]:
    """The lengths after some growth, up to `most` tokens; as they are where that is less."""
    return [max(n, min(n + SLACK, most)) for n in lengths]
