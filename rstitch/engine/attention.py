"""Attention over the KV slabs, as transformers' models call it.

Models run on a flat ragged batch [1, total_tokens]; which token belongs to which row travels in
one keyword argument, a `Batch`. No attention-mask function is registered under our name, so
transformers builds no mask and this file does its own causality, sliding windows, soft-capping
and sinks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from rstitch.engine.batch import Batch, additive, visible
from rstitch.engine.compiled import RowBatch
from rstitch.engine.dense import Extra, attend
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.part import Part

NAME = "rstitch"


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    rst_batch: Batch | RowBatch | PagedBatch | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls per layer: (1, heads, tokens, dim) -> (1, tokens, heads, dim)."""
    assert rst_batch is not None, "models loaded with attention 'rstitch' run through a Runner only"
    batch, layer = rst_batch, int(module.layer_idx)  # type: ignore[arg-type]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    extra = Extra(scale, sliding_window, softcap, s_aux)
    if isinstance(batch, PagedBatch):
        return batch.attend(layer, query, key, value, extra), None
    if isinstance(batch, RowBatch):
        return _whole_row(batch, layer, query, key, value, extra), None
    if batch.kv.shares and batch.shares:
        own = _own(batch, layer, query, key, value, extra._replace(sinks=None, weighed=True))
        return _with_prefixes(batch, layer, query, own[0], extra)[None].to(query.dtype), None
    return _own(batch, layer, query, key, value, extra), None


def _own(
    batch: Batch, layer: int, query: Tensor, key: Tensor, value: Tensor, extra: Extra
) -> Tensor:
    """What rows have in their slots: (1, heads, tokens, dim) -> (1, tokens, heads, dim)."""
    keys, values = batch.kv.layer(layer, key[0], value[0])
    if len(batch.spans) == 1:
        return _one_row(batch, layer, query, key, value, extra)
    keys[batch.slots, :, batch.places] = key[0].transpose(0, 1)
    values[batch.slots, :, batch.places] = value[0].transpose(0, 1)
    if batch.together and batch.padding.dense:
        return _rectangle(batch, query[0].transpose(0, 1), keys, values, extra)[None]
    if not batch.apart:
        return _all_together(batch, query[0].transpose(0, 1), keys, values, extra)[None]
    width, dtype = value.shape[-1] + extra.weighed, torch.float32 if extra.weighed else query.dtype
    out = query.new_empty(query.shape[2], query.shape[1], width, dtype=dtype)
    if batch.together:
        _together(batch, query, keys, values, extra, out)
    for index in batch.apart:
        _apart(batch, index, query, keys, values, extra, out)
    return out[None]


def _with_prefixes(batch: Batch, layer: int, query: Tensor, own: Tensor, extra: Extra) -> Tensor:
    """Merge what tokens found in their slots, (tokens, heads, dim + 1), with what they find in the
    prefixes of their rows -> (tokens, heads, dim)."""
    found, weight = own[..., :-1], own[..., -1:]
    for part in batch.parts:
        more, heavy = _in_prefix(part, layer, query, extra)
        if part.source is None:
            found = torch.lerp(found, more, torch.sigmoid(heavy - weight))
            weight = torch.logaddexp(weight, heavy)
        else:
            old = weight[part.source]
            found[part.source] = torch.lerp(found[part.source], more, torch.sigmoid(heavy - old))
            weight[part.source] = torch.logaddexp(old, heavy)
    if extra.sinks is not None:
        found = found * torch.sigmoid(weight - extra.sinks.float()[:, None])
    return found


def _in_prefix(part: Part, layer: int, query: Tensor, extra: Extra) -> tuple[Tensor, Tensor]:
    """What all tokens with that prefix find there: one row of queries, whichever rows they are of.
    (tokens, heads, dim), and the weights (tokens, heads, 1)."""
    keys, values = part.prefix.parts[layer, 0][None], part.prefix.parts[layer, 1][None]
    queries = query if part.source is None else query[:, :, part.source]
    bias, seen = None, part.visible(extra.window)
    if seen is not None:
        bias = additive(seen[None, None], query.shape[1] // keys.shape[1], query)
    out = attend(queries, keys, values, bias, extra._replace(sinks=None, weighed=True))
    out = out[0].transpose(0, 1)
    return out[..., :-1], out[..., -1:]


def _one_row(
    batch: Batch, layer: int, query: Tensor, key: Tensor, value: Tensor, extra: Extra
) -> Tensor:
    """The only row of a pass: decoding one request. Views instead of indexing, which costs more."""
    (span,) = batch.spans
    keys, values = batch.kv.row(span.slot)[layer]
    keys.narrow(2, span.start, span.count).copy_(key)
    values.narrow(2, span.start, span.count).copy_(value)
    bias = batch.row_bias(0, extra.window, query.shape[1] // key.shape[1], query)
    seen = keys.narrow(2, 0, span.end), values.narrow(2, 0, span.end)
    return attend(query, *seen, bias, extra).transpose(1, 2).contiguous()  # models take views


def _all_together(
    batch: Batch, query: Tensor, keys: Tensor, values: Tensor, extra: Extra
) -> Tensor:
    """`_together` where that is everybody: (tokens, heads, dim) -> the same."""
    cover = batch.padding
    places = query.new_zeros(cover.rows * cover.width, *query.shape[1:])
    places.index_copy_(0, cover.index, query)
    return _rectangle(batch, places, keys, values, extra).index_select(0, cover.index)


def _together(
    batch: Batch, query: Tensor, keys: Tensor, values: Tensor, extra: Extra, out: Tensor
) -> None:
    """The rows that share one padded call; their part of `out` (tokens, heads, dim) is filled."""
    cover = batch.padding
    places = query.new_zeros(cover.rows * cover.width, query.shape[1], query.shape[-1])
    places[cover.index] = query[0].transpose(0, 1)[cover.source]
    out[cover.source] = _rectangle(batch, places, keys, values, extra)[cover.index]


def _rectangle(batch: Batch, places: Tensor, keys: Tensor, values: Tensor, extra: Extra) -> Tensor:
    """The padded call: queries (rows * width, heads, dim) -> (rows * width, heads, dim)."""
    cover, heads = batch.padding, places.shape[1]
    attended = attend(
        places.view(cover.rows, cover.width, heads, -1).transpose(1, 2),
        cover.view(keys),
        cover.view(values),
        batch.padded_bias(extra.window, heads // keys.shape[1], places),
        extra,
    )
    return attended.transpose(1, 2).reshape(cover.rows * cover.width, heads, -1)


def _apart(
    batch: Batch,
    index: int,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    extra: Extra,
    out: Tensor,
) -> None:
    """One row by itself, such as a long prefill; its part of `out` is filled."""
    span = batch.spans[index]
    here = slice(batch.offsets[index], batch.offsets[index] + span.count)
    seen = keys[span.slot, :, : span.end][None], values[span.slot, :, : span.end][None]
    bias = batch.row_bias(index, extra.window, query.shape[1] // keys.shape[1], query)
    out[here] = attend(query[:, :, here], *seen, bias, extra)[0].transpose(0, 1)


def _whole_row(
    batch: RowBatch, layer: int, query: Tensor, key: Tensor, value: Tensor, extra: Extra
) -> Tensor:
    """The one row of a compiled pass, over its whole capacity: every shape is static."""
    keys, values = batch.layers[layer]
    keys.index_copy_(2, batch.positions, key)
    values.index_copy_(2, batch.positions, value)
    places = torch.arange(keys.shape[2], device=keys.device)
    seen = visible(batch.positions[:, None], places, extra.window)[None, None]
    bias = additive(seen, query.shape[1] // keys.shape[1], query)
    return attend(query, keys, values, bias, extra).transpose(1, 2).contiguous()


AttentionInterface.register(NAME, attention)
