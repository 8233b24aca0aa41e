"""The same as `reference` in Triton, one launch each."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rstitch.engine.fused.ops import Heads

PIECE = 1024
"""Numbers that a program of `_gated` makes."""


def add_norm(
    residual: Tensor, new: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """As in `ops.Ops`."""
    tokens, width = residual.shape
    summed = residual if new is None else torch.empty_like(residual)
    normed = torch.empty_like(residual)
    _add_norm[(tokens,)](
        residual, residual if new is None else new, weight, summed, normed, eps,
        WIDTH=width, BLOCK=triton.next_power_of_2(width), ADDS=new is not None,
        num_warps=4 if width <= 2048 else 8,
    )  # fmt: skip
    return summed, normed


def rotate_store(
    qkv: Tensor, cos: Tensor, sin: Tensor, heads: Heads, keys: Tensor, values: Tensor, cells: Tensor
) -> Tensor:
    """As in `ops.Ops`."""
    tokens, dim, normed = len(qkv), heads.dim, heads.q_norm is not None
    query = qkv.new_empty(tokens, heads.query, dim)
    _rotate_store[(tokens, heads.query + 2 * heads.kv)](
        qkv, cos, sin, heads.q_norm if normed else qkv, heads.k_norm if normed else qkv,
        query, keys, values, cells, heads.eps,
        QUERY=heads.query, KV=heads.kv, DIM=dim, HALF=dim // 2,
        BLOCK=triton.next_power_of_2(dim // 2), NORM=normed, num_warps=1,
    )  # fmt: skip
    return query


def gated(gate_up: Tensor) -> Tensor:
    """As in `ops.Ops`."""
    tokens, width = len(gate_up), gate_up.shape[1] // 2
    out = gate_up.new_empty(tokens, width)
    _gated[(tokens, triton.cdiv(width, PIECE))](gate_up, out, WIDTH=width, BLOCK=PIECE)
    return out


@triton.jit
def _add_norm(
    residual, new, weight, summed, normed, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, ADDS: tl.constexpr,
):  # fmt: skip
    row, d = tl.program_id(0).to(tl.int64) * WIDTH, tl.arange(0, BLOCK)
    inside = d < WIDTH
    x = tl.load(residual + row + d, mask=inside, other=0.0)
    if ADDS:
        x = x + tl.load(new + row + d, mask=inside, other=0.0)
        tl.store(summed + row + d, x, mask=inside)
    wide = x.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / WIDTH + eps)
    w = tl.load(weight + d, mask=inside, other=0.0)
    tl.store(normed + row + d, w * (wide * scale).to(w.dtype), mask=inside)


@triton.jit
def _rotate_store(
    qkv, cos, sin, q_norm, k_norm, query, keys, values, cells, eps,
    QUERY: tl.constexpr, KV: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr,
    BLOCK: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    d = tl.arange(0, BLOCK)
    inside = d < HALF
    here = qkv + (token * (QUERY + 2 * KV) + head) * DIM + d
    first = tl.load(here, mask=inside, other=0.0)
    second = tl.load(here + HALF, mask=inside, other=0.0)
    cell = tl.load(cells + token)
    if head >= QUERY + KV:
        there = values + (cell * KV + head - QUERY - KV) * DIM + d
        tl.store(there, first, mask=inside)
        tl.store(there + HALF, second, mask=inside)
    else:
        a, b = first.to(tl.float32), second.to(tl.float32)
        if NORM:
            norm = q_norm
            if head >= QUERY:
                norm = k_norm
            scale = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / DIM + eps)
            low = tl.load(norm + d, mask=inside, other=0.0)
            high = tl.load(norm + HALF + d, mask=inside, other=0.0)
            a = (low * (a * scale).to(low.dtype)).to(tl.float32)
            b = (high * (b * scale).to(high.dtype)).to(tl.float32)
        turn = token * DIM + d
        c0 = tl.load(cos + turn, mask=inside, other=0.0).to(tl.float32)
        s0 = tl.load(sin + turn, mask=inside, other=0.0).to(tl.float32)
        c1 = tl.load(cos + turn + HALF, mask=inside, other=0.0).to(tl.float32)
        s1 = tl.load(sin + turn + HALF, mask=inside, other=0.0).to(tl.float32)
        there = query + (token * QUERY + head) * DIM + d
        if head >= QUERY:
            there = keys + (cell * KV + head - QUERY) * DIM + d
        tl.store(there, (a * c0 - b * s0).to(first.dtype), mask=inside)
        tl.store(there + HALF, (b * c1 + a * s1).to(first.dtype), mask=inside)


@triton.jit
def _gated(gate_up, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < WIDTH
    gate = tl.load(gate_up + row * 2 * WIDTH + d, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * WIDTH + WIDTH + d, mask=inside, other=0.0)
    made = (gate * tl.sigmoid(gate)).to(up.dtype) * up
    tl.store(out + row * WIDTH + d, made, mask=inside)
