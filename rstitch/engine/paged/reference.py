"""Attention over pages by gathering them: any device, any model, slow. What kernels are held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rstitch.engine.batch import additive, visible
from rstitch.engine.dense import Extra
from rstitch.engine.dense import attend as attend_dense

if TYPE_CHECKING:
    from rstitch.engine.paged.batch import PagedBatch


def store(key: Tensor, value: Tensor, keys: Tensor, values: Tensor, cells: Tensor) -> None:
    """As in `choice.Backend`."""
    keys.flatten(0, 1)[cells] = key
    values.flatten(0, 1)[cells] = value


def attend(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, extra: Extra) -> Tensor:
    """As in `choice.Backend`: rows become a rectangle (rows, width) of queries."""
    place = torch.arange(batch.width, device=query.device)
    real = place < batch.counts[:, None]
    at = (batch.starts[:-1, None] + place).clamp(max=len(query) - 1)
    seen_by = batch.ends[:, None] - batch.counts[:, None] + place
    position = torch.where(real, seen_by, batch.ends[:, None] - 1)[:, None, :, None]
    key, value = (_gathered(pool, batch) for pool in (keys, values))
    seen = visible(position, torch.arange(key.shape[2], device=query.device), extra.window)
    bias = additive(seen, query.shape[1] // key.shape[1], query)
    found = attend_dense(query[at].transpose(1, 2), key, value, bias, extra).transpose(1, 2)
    out = query.new_zeros(len(query) + 1, query.shape[1], value.shape[-1])
    out[torch.where(real, at, len(query))] = found.to(query.dtype)  # padding goes past the end
    return out[:-1]


def _gathered(pool: Tensor, batch: PagedBatch) -> Tensor:
    """(rows, kv_heads, keys, dim); 0 past a row's end, where anything may lie."""
    pages = -(-batch.keys // batch.kv.page)
    found = pool[batch.table[:, :pages].long()].flatten(1, 2)[:, : batch.keys]
    inside = torch.arange(found.shape[1], device=pool.device) < batch.ends[:, None]
    return torch.where(inside[..., None, None], found, 0).transpose(1, 2)
