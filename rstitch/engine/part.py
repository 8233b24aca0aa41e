"""One prefix in one forward pass: who attends to it, and how much of it each may see.

All tokens whose rows share a prefix attend to it in one product, so its keys are read once for
all of them, not once per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rstitch.engine.prefix import Prefix, Share


@dataclass(slots=True, eq=False)
class Part:
    """The tokens of a flat batch that attend to a prefix."""

    prefix: Prefix
    source: Tensor | None
    """int64 (tokens,): where they are in the batch; None for all of it."""
    positions: Tensor
    """int64 (tokens,): where they are in their rows."""
    limits: Tensor | None
    """int64 (tokens,): how many of the prefix's tokens are their row's; None where all are."""
    seen: dict[int | None, Tensor | None] = field(default_factory=dict)
    """Per window what tokens may see, bool (tokens, prefix tokens); None for everything."""

    def visible(self, window: int | None) -> Tensor | None:
        if window not in self.seen:
            self.seen[window] = self._visible(window)
        return self.seen[window]

    def _visible(self, window: int | None) -> Tensor | None:
        seen, places = None, torch.arange(self.prefix.tokens, device=self.positions.device)
        if self.limits is not None:
            seen = places < self.limits[:, None]
        if window is not None and int(self.positions.max()) >= window:
            near = places > self.positions[:, None] - window
            seen = near if seen is None else seen & near
        return seen


def parts(shares: Sequence[Share | None], counts: Sequence[int], positions: Tensor) -> list[Part]:
    """For rows that feed so many tokens each: every prefix, with the tokens that attend to it."""
    found: dict[Prefix, tuple[list[int], list[int]]] = {}
    start = 0
    for share, count in zip(shares, counts, strict=True):
        if share:
            source, limits = found.setdefault(share.prefix, ([], []))
            source += range(start, start + count)
            limits += [share.tokens] * count
        start += count
    made = []
    for prefix, (source, limits) in found.items():
        index = None if len(source) == start else torch.tensor(source, device=positions.device)
        cut = min(limits) < prefix.tokens
        made.append(
            Part(
                prefix,
                index,
                positions if index is None else positions[index],
                torch.tensor(limits, device=positions.device) if cut else None,
            )
        )
    return made
