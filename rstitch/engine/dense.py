"""Grouped-query attention of dense keys and values, with what models add to it.

Capped scores and sinks are done by hand; everything else is torch's own product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Extra(NamedTuple):
    """What a layer's attention has beside queries, keys and values."""

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    """Logits (query heads,) that take part in the softmax and attend to nothing (gpt-oss)."""
    weighed: bool = False
    """Outputs have one more column: the logarithm of the softmax's denominator, by which they can
    be merged with what the same queries found elsewhere. Then they are float32, and without sinks,
    which take part once only."""


FUSED = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
"""What scaled_dot_product_attention runs on the CPU, which returns the weights too: half the time
of doing it by hand. It is torch's own business, so it may be missing one day."""

LEAST = -1e30
"""Instead of the logarithm of 0, where a query sees no key at all."""


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, extra: Extra) -> Tensor:
    """Grouped-query attention: (B, Hq, n, D), (B, Hkv, L, D), (B, Hkv, L, Dv) -> (B, Hq, n, Dv).

    `bias` is added to the scores and broadcastable to (B, Hkv, group * n, L): the query heads of a
    group are folded into the query axis, so keys and values are never repeated.
    """
    batch, q_heads, n, _ = query.shape
    kv_heads = key.shape[1]
    folded = query.reshape(batch, kv_heads, q_heads // kv_heads * n, query.shape[-1])
    if extra.weighed:
        out = _weighed(folded, key, value, bias, extra)
    elif extra.softcap is None and extra.sinks is None:
        out = F.scaled_dot_product_attention(folded, key, value, attn_mask=bias, scale=extra.scale)
    else:
        out = _attend_by_hand(folded, key, value, bias, extra, n)
    return out.reshape(batch, q_heads, n, out.shape[-1])


def _weighed(
    folded: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, extra: Extra
) -> Tensor:
    """`attend` with its denominators."""
    plain = bias is None and extra.softcap is None and key.shape[3] == value.shape[3]
    if FUSED and plain and folded.is_cpu:
        out, weight = FUSED(folded, key, value, scale=extra.scale)
        return torch.cat([out.float(), weight[..., None].float()], dim=-1)
    scores = _scores(folded, key, bias, extra)
    weight = torch.logsumexp(scores, dim=-1, keepdim=True).clamp_(min=LEAST)
    out = (scores - weight).exp_().to(value.dtype) @ value
    return torch.cat([out.float(), weight], dim=-1)


def _scores(folded: Tensor, key: Tensor, bias: Tensor | None, extra: Extra) -> Tensor:
    scores = (folded @ key.transpose(-1, -2)).float() * extra.scale
    if extra.softcap is not None:
        scores = extra.softcap * torch.tanh(scores / extra.softcap)
    return scores if bias is None else scores + bias


def _attend_by_hand(
    folded: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, extra: Extra, n: int
) -> Tensor:
    """`attend` for what scaled_dot_product_attention does not know."""
    scores = _scores(folded, key, bias, extra)
    if extra.sinks is not None:
        sink = extra.sinks.float().view(1, key.shape[1], -1, 1).repeat_interleave(n, dim=2)
        sink = sink.expand(scores.shape[0], -1, -1, 1)
        scores = torch.cat([scores, sink], dim=-1)
    weights = torch.softmax(scores, dim=-1)[..., : key.shape[2]]
    return weights.to(value.dtype) @ value
