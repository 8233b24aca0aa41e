"""Attention over the KV slabs, as transformers' models call it.

Models run on a flat ragged batch [1, total_tokens]; which token belongs to which row travels in
one keyword argument, a `Batch`. No attention-mask function is registered under our name, so
transformers builds no mask and this file does its own causality, sliding windows, soft-capping
and sinks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from rstitch.engine.compiled import RowBatch
from rstitch.engine.kv import KVSlabs

NAME = "rstitch"
LONG = 16
"""Rows feeding more tokens than this attend one by one; shorter ones share a padded call."""


@dataclass(frozen=True, slots=True)
class Span:
    """One row's part of a flat batch."""

    slot: int
    start: int
    """Tokens already cached: the position of the first fed one."""
    count: int
    """Tokens fed now."""

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass
class Batch:
    """Where a forward pass's tokens live: rows in feeding order, and the memory they write to."""

    kv: KVSlabs
    spans: list[Span]
    device: torch.device
    _masks: dict[int | None, Any] = field(default_factory=dict)

    @cached_property
    def positions(self) -> Tensor:
        """int64 (tokens,)."""
        if len(self.spans) == 1:
            return torch.arange(self.spans[0].start, self.spans[0].end, device=self.device)
        flat = [p for s in self.spans for p in range(s.start, s.end)]
        return torch.tensor(flat, device=self.device)

    @cached_property
    def slots(self) -> Tensor:
        """int64 (tokens,)."""
        flat = [s.slot for s in self.spans for _ in range(s.count)]
        return torch.tensor(flat, device=self.device)

    @cached_property
    def padded(self) -> bool:
        """Whether the rows share one padded attention call."""
        return len(self.spans) > 1 and all(s.count <= LONG for s in self.spans)

    @cached_property
    def offsets(self) -> list[int]:
        """Start of each row in the flat batch."""
        starts, total = [], 0
        for span in self.spans:
            starts.append(total)
            total += span.count
        return starts

    @cached_property
    def cover(self) -> Padding:
        return Padding.of(self.spans, self.device)

    def row_mask(self, span: Span, window: int | None) -> Tensor | None:
        """bool (1, 1, count, end), True where it may attend; None where it may attend to all."""
        if span.count == 1 and (window is None or window >= span.end):
            return None
        if len(self.spans) == 1 and window in self._masks:
            cached: Tensor = self._masks[window]
            return cached
        query = torch.arange(span.start, span.end, device=self.device)[:, None]
        keys = torch.arange(span.end, device=self.device)
        mask = visible(query, keys, window)[None, None]
        if len(self.spans) == 1:
            self._masks[window] = mask
        return mask

    def padded_mask(self, window: int | None) -> Tensor:
        """bool (rows, 1, width, keys), True where a query may attend."""
        if window not in self._masks:
            query = self.cover.query_positions[:, None, :, None]
            keys = torch.arange(self.cover.keys, device=self.device)
            self._masks[window] = visible(query, keys, window)
        mask: Tensor = self._masks[window]
        return mask


@dataclass(frozen=True, slots=True)
class Padding:
    """How ragged rows lie in a padded (rows, width) rectangle over a range of slots."""

    first: int
    rows: int
    """Slots first .. first + rows - 1 are attended as one view, taking part or not."""
    picked: Tensor | None
    """Slot of each row when the range would be mostly idle: those slots are gathered instead."""
    width: int
    keys: int
    """Longest row in tokens."""
    index: Tensor
    """int64 (tokens,): where each flat token lies in the flattened rectangle."""
    query_positions: Tensor
    """int64 (rows, width); 0 where idle, so that idle queries attend something finite."""

    @classmethod
    def of(cls, spans: list[Span], device: torch.device) -> Padding:
        slots = [s.slot for s in spans]
        first, reach = min(slots), max(slots) - min(slots) + 1
        gather = reach > 2 * len(spans)
        row_of = {s: i for i, s in enumerate(slots)} if gather else {s: s - first for s in slots}
        rows = len(spans) if gather else reach
        width = max(s.count for s in spans)
        index = [row_of[s.slot] * width + i for s in spans for i in range(s.count)]
        positions = torch.zeros(rows * width, dtype=torch.long)
        positions[torch.tensor(index)] = torch.tensor(
            [p for s in spans for p in range(s.start, s.end)]
        )
        return cls(
            first=first,
            rows=rows,
            picked=torch.tensor(slots, device=device) if gather else None,
            width=width,
            keys=max(s.end for s in spans),
            index=torch.tensor(index, device=device),
            query_positions=positions.view(rows, width).to(device),
        )

    def view(self, slab: Tensor) -> Tensor:
        """(rows, kv_heads, keys, dim) of a slab."""
        if self.picked is not None:
            return slab[:, :, : self.keys].index_select(0, self.picked)
        return slab[self.first : self.first + self.rows, :, : self.keys]


def visible(query: Tensor, key: Tensor, window: int | None) -> Tensor:
    """Causal, and within the sliding window: a query at i sees keys j with i - window < j <= i."""
    seen = key <= query
    return seen if window is None else seen & (key > query - window)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Grouped-query attention: (B, Hq, n, D), (B, Hkv, L, D), (B, Hkv, L, Dv) -> (B, Hq, n, Dv).

    `mask` is bool, broadcastable to (B, 1, n, L). The query heads of a group are folded into the
    query axis, so keys and values are never repeated. `sinks` are logits (Hq,) that take part in
    the softmax and attend to nothing (gpt-oss).
    """
    batch, q_heads, n, _ = query.shape
    kv_heads = key.shape[1]
    group = q_heads // kv_heads
    folded = query.reshape(batch, kv_heads, group * n, query.shape[-1])
    if mask is not None and group > 1:
        mask = mask.repeat(1, 1, group, 1)
    if softcap is None and sinks is None:
        out = F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scale)
    else:
        out = _attend_by_hand(folded, key, value, mask, scale, softcap, sinks, n)
    return out.reshape(batch, q_heads, n, value.shape[-1])


def _attend_by_hand(
    folded: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
    n: int,
) -> Tensor:
    """`attend` for what scaled_dot_product_attention does not know."""
    scores = (folded @ key.transpose(-1, -2)).float() * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if sinks is not None:
        sink = sinks.float().view(1, key.shape[1], -1, 1).repeat_interleave(n, dim=2)
        sink = sink.expand(scores.shape[0], -1, -1, 1)
        scores = torch.cat([scores, sink], dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., : key.shape[2]]
    return weights.to(value.dtype) @ value


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
    rst_batch: Batch | RowBatch | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls per layer: (1, heads, tokens, dim) -> (1, tokens, heads, dim)."""
    assert rst_batch is not None, "models loaded with attention 'rstitch' run through a Runner only"
    batch, layer = rst_batch, int(module.layer_idx)  # type: ignore[arg-type]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    extra = (scale, softcap, s_aux)
    if isinstance(batch, RowBatch):
        return _whole_row(batch, layer, query, key, value, sliding_window, extra), None
    keys, values = batch.kv.layer(layer, key[0], value[0])
    if len(batch.spans) == 1:
        return _one_row(batch, layer, query, key, value, sliding_window, extra), None
    if not batch.padded:
        return _by_row(batch, query, key, value, keys, values, sliding_window, extra), None
    keys[batch.slots, :, batch.positions] = key[0].transpose(0, 1)
    values[batch.slots, :, batch.positions] = value[0].transpose(0, 1)
    cover, heads = batch.cover, query.shape[1]
    rectangle = query.new_zeros(cover.rows * cover.width, heads, query.shape[-1])
    rectangle[cover.index] = query[0].transpose(0, 1)
    out = attend(
        rectangle.view(cover.rows, cover.width, heads, -1).transpose(1, 2),
        cover.view(keys),
        cover.view(values),
        batch.padded_mask(sliding_window),
        *extra,
    )
    flat = out.transpose(1, 2).reshape(cover.rows * cover.width, heads, -1)
    return flat[cover.index][None], None


def _one_row(
    batch: Batch,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    extra: tuple[float, float | None, Tensor | None],
) -> Tensor:
    """The only row of a pass: decoding one request. Views instead of indexing, which costs more."""
    (span,) = batch.spans
    keys, values = batch.kv.row(span.slot)[layer]
    keys.narrow(2, span.start, span.count).copy_(key)
    values.narrow(2, span.start, span.count).copy_(value)
    mask = batch.row_mask(span, window)
    out = attend(query, keys.narrow(2, 0, span.end), values.narrow(2, 0, span.end), mask, *extra)
    return out.transpose(1, 2)


def _by_row(
    batch: Batch,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keys: Tensor,
    values: Tensor,
    window: int | None,
    extra: tuple[float, float | None, Tensor | None],
) -> Tensor:
    """Each row by itself: long prefills."""
    parts = []
    for span, at in zip(batch.spans, batch.offsets, strict=True):
        here = slice(at, at + span.count)
        keys[span.slot, :, span.start : span.end] = key[0, :, here]
        values[span.slot, :, span.start : span.end] = value[0, :, here]
        out = attend(
            query[:, :, here],
            keys[span.slot, :, : span.end][None],
            values[span.slot, :, : span.end][None],
            batch.row_mask(span, window),
            *extra,
        )
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


def _whole_row(
    batch: RowBatch,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    extra: tuple[float, float | None, Tensor | None],
) -> Tensor:
    """The one row of a compiled pass, over its whole capacity: every shape is static."""
    keys, values = batch.layers[layer]
    keys.index_copy_(2, batch.positions, key)
    values.index_copy_(2, batch.positions, value)
    places = torch.arange(keys.shape[2], device=keys.device)
    mask = visible(batch.positions[:, None], places, window)[None, None]
    return attend(query, keys, values, mask, *extra).transpose(1, 2)


AttentionInterface.register(NAME, attention)
