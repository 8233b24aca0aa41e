"""Draws from wide rows on a CPU, without sorting them.

On a CPU sorting 152,000 tokens takes 13 milliseconds, as long as the pass of a model of half a
billion parameters, and noise for all of them 2 more. What these filters leave are the first few of
the ranking, so it is enough to rank the likeliest, and to know when these were not enough.
That is looked at on the host, so a device and a CUDA graph take `sampling.draw`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.sampling import Filters

WIDE = 8192
"""Columns from which this pays."""
LENGTH = 512
"""Tokens that are ranked."""


def draw(logp: Tensor, filters: Filters, seeds: Tensor, positions: Tensor) -> Tensor:
    """As `sampling.draw`, wherever the rows are and however wide."""
    width = logp.shape[-1]
    if width <= WIDE or logp.device.type != "cpu":
        return sampling.draw(logp, filters, seeds, positions)
    if _keep_all(filters, width):
        scaled = logp / filters.temperature[:, None].clamp(min=1e-30)
        return (scaled + sampling.gumbel(seeds, positions, width)).argmax(-1)
    values, ids, whole = kept(logp, filters)
    best = (values + sampling.gumbel_of(ids, seeds, positions)).argmax(-1, keepdim=True)
    drawn = ids.gather(1, best)[:, 0]
    rest = (~whole).nonzero()[:, 0]
    if len(rest):
        among = Filters(*(one[rest] for one in filters.columns()))
        drawn[rest] = sampling.draw(logp[rest], among, seeds[rest], positions[rest])
    return drawn


def _keep_all(filters: Filters, width: int) -> bool:
    """Whether no row drops a token."""
    open_ = (filters.top_k >= width) & (filters.top_p >= 1) & (filters.min_p <= 0)
    return bool(open_.all())


def kept(logp: Tensor, filters: Filters) -> tuple[Tensor, Tensor, Tensor]:
    """As `sampling.filtered`, of the likeliest tokens alone.

    Returns their values after the filters, float32 (rows, n), -inf where dropped; their ids, int64
    (rows, n); and bool (rows,) whether these are all that the filters keep of the row.
    """
    temperature, top_k, top_p, min_p = (one[:, None] for one in filters.columns())
    found, ids = logp.topk(LENGTH + 1, dim=-1)
    found, ids = _by_id(found, ids)
    best = found[:, :1]
    # Among the tokens that are as likely as the last of them, others may rank before it.
    surely = found > found[:, -1:]
    scaled = (found - best) / temperature.clamp(min=1e-30)
    rank = torch.arange(LENGTH + 1, device=logp.device)[None, :]
    all_of_it = ((logp - best) / temperature.clamp(min=1e-30)).logsumexp(-1, keepdim=True)
    few = top_k <= LENGTH
    some_of_it = scaled.masked_fill(rank >= top_k, -torch.inf).logsumexp(-1, keepdim=True)
    probs = (scaled - torch.where(few, some_of_it, all_of_it)).exp()
    before = probs.cumsum(-1) - probs
    keep = (rank < top_k) & ((before < top_p) | (top_p >= 1)) & (probs >= min_p * probs[:, :1])
    keep[:, 0].fill_(True)
    whole = (keep <= surely).all(-1) & (few | (top_k >= logp.shape[-1]))[:, 0]
    return scaled.masked_fill(~keep, -torch.inf), ids, whole


def _by_id(found: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """From the likeliest down, equals by their ids, as a stable sort of the whole row has them."""
    ids, order = ids.sort(dim=-1)
    found, order = found.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return found, ids.gather(-1, order)
