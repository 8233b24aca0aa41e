"""What lies between a layer's products, in torch: what the kernels are held to."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rstitch.engine.fused.ops import Heads
from rstitch.engine.paged import reference as pages


def add_norm(
    residual: Tensor, new: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """As in `ops.Ops`."""
    summed = residual if new is None else residual + new
    return summed, _norm(summed, weight, eps)


def rotate_store(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: Heads, keys: Tensor, values: Tensor, cells: Tensor
) -> Tensor:
    """As in `ops.Ops`."""
    split = qkv.view(len(qkv), -1, heads.dim)
    query, key, value = split.split([heads.query, heads.kv, heads.kv], dim=1)
    if heads.q_norm is not None and heads.k_norm is not None:
        query = _norm(query, heads.q_norm, heads.eps)
        key = _norm(key, heads.k_norm, heads.eps)
    pages.store(_rotated(key, cos, sin), value, keys, values, cells)
    return _rotated(query, cos, sin)


def gated(gate_up: Tensor) -> Tensor:
    """As in `ops.Ops`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return weight * scaled.to(x.dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.float().chunk(2, dim=-1)
    half = torch.cat([-second, first], dim=-1)
    return (x.float() * cos.float()[:, None] + half * sin.float()[:, None]).to(x.dtype)
