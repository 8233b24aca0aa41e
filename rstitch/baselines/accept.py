"""Which drafted tokens the LLM accepts: pure functions of both sides' distributions.

p and q are the papers': the LLM's and the SLM's probabilities at a position, after temperature and
filters. The lossless rule is that of Leviathan et al. (arXiv 2211.17192, Algorithm 1) and Chen et
al. (arXiv 2302.01318, Algorithm 2): accept x ~ q with probability min(1, p(x) / q(x)); in place of
the first rejected token draw from max(0, p - q), normalised. What is kept then has the law p.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def by_chance(p: Tensor, q: Tensor, tokens: Sequence[int], coins: Tensor) -> list[bool]:
    """Whether each token would be accepted: p, q (tokens, V), coins (tokens,) in [0, 1)."""
    at = torch.tensor(tokens, device=p.device)[:, None]
    fine: list[bool] = (coins.double() * q.gather(1, at)[:, 0] < p.gather(1, at)[:, 0]).tolist()
    return fine


def replacement(p: Tensor, q: Tensor) -> Tensor:
    """Logs of what is drawn in the place of a rejected token: (V,) each, unnormalised."""
    excess = (p - q).clamp(min=0)
    # Nothing is left where p and q differ by rounding alone; then p is as good.
    return (excess if excess.any() else p).log()


def leading(fine: Sequence[bool]) -> int:
    """How many stand before the first that is not fine."""
    return next((i for i, ok in enumerate(fine) if not ok), len(fine))


def loosened(fine: Sequence[bool], may: Sequence[bool], window: int) -> list[bool]:
    """The same with some rejections lifted: where they `may` be, and the next `window` drafted
    tokens, all of them there, would be accepted."""

    def lifted(i: int) -> bool:
        return may[i] and i + window < len(fine) and all(fine[i + 1 : i + 1 + window])

    return [ok or lifted(i) for i, ok in enumerate(fine)]
