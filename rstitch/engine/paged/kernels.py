"""Triton kernels of attention over pages: one for decode, catch-ups and prefills alike.

A program has a tile of queries, all heads of one group and a few tokens of one row, and walks over
that row's pages. Where there are few tiles, each row's keys are split over several programs, whose
results are merged by the softmax's denominators (flash decoding). Shapes of a launch depend on what
the host knows alone, lengths are read on the device, so a captured step stays right as rows grow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from rstitch.engine.dense import Extra

if TYPE_CHECKING:
    from rstitch.engine.paged.batch import PagedBatch

BLOCK_N = 64
"""Keys that a program looks at at once."""
LEAST_M, MOST_M = 16, 64
"""Queries x heads of a tile: tensor cores want 16 at least."""
MOST_SPLITS = 64
WAVES = 2
"""Programs per multiprocessor that splitting aims at."""
NO_GPU = 8
"""Multiprocessors of the interpreter: enough that tests walk through splits."""


def store(key: Tensor, value: Tensor, keys: Tensor, values: Tensor, cells: Tensor) -> None:
    """As in `choice.Backend`, in one launch."""
    tokens, heads, k_dim = key.shape
    v_dim = value.shape[2]
    assert key.stride(2) == value.stride(2) == 1 and keys.is_contiguous() and values.is_contiguous()
    _store[(tokens, heads)](
        key, value, keys, values, cells,
        key.stride(0), key.stride(1), value.stride(0), value.stride(1),
        HEADS=heads, DK=k_dim, DV=v_dim,
        BLOCK_DK=triton.next_power_of_2(k_dim), BLOCK_DV=triton.next_power_of_2(v_dim),
    )  # fmt: skip


def attend(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, extra: Extra) -> Tensor:
    """As in `choice.Backend`."""
    tokens, heads, k_dim = query.shape
    kv_heads, v_dim = values.shape[2:]
    group = heads // kv_heads
    block_m = min(MOST_M, max(LEAST_M, triton.next_power_of_2(group * batch.width)))
    block_m = max(block_m, triton.next_power_of_2(group))
    rows, first = batch.tiles(block_m // group)
    splits = _splits(len(rows) * kv_heads, batch.keys, query.device)
    out = query.new_empty(tokens, heads, v_dim)
    part, weight = out, out
    if splits > 1:
        part = query.new_empty(splits, tokens, heads, v_dim, dtype=torch.float32)
        weight = query.new_empty(splits, tokens, heads, dtype=torch.float32)
    sinks = out if extra.sinks is None else extra.sinks
    assert query.stride(2) == 1
    _attend[(len(rows), kv_heads, splits)](
        query, keys, values, part, weight, sinks, rows, first,
        batch.starts, batch.counts, batch.ends, batch.table,
        extra.scale, tokens, query.stride(0), query.stride(1), batch.table.stride(0),
        HEADS=heads, GROUP=group, TILE=block_m // group, PAGE=keys.shape[1],
        DK=k_dim, DV=v_dim, BLOCK_DK=_padded(k_dim), BLOCK_DV=_padded(v_dim),
        BLOCK_M=block_m, BLOCK_N=BLOCK_N, SPLITS=splits,
        WINDOW=extra.window or 0, SOFTCAP=extra.softcap or 0.0, SINKS=extra.sinks is not None,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    if splits > 1:
        _merge[(tokens, heads)](
            part, weight, sinks, out, tokens, HEADS=heads, DV=v_dim, BLOCK_DV=_padded(v_dim),
            SPLITS=splits, SINKS=extra.sinks is not None,
        )  # fmt: skip
    return out


def _padded(dim: int) -> int:
    return max(16, int(triton.next_power_of_2(dim)))


def _splits(programs: int, keys: int, device: torch.device) -> int:
    """Over how many programs each row's keys are spread: a power of two, by what the host knows."""
    wanted = max(1, WAVES * _processors(device) // programs)
    useful = max(1, keys // BLOCK_N)
    most = min(wanted, useful, MOST_SPLITS)
    return 1 << (most.bit_length() - 1)


@lru_cache
def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return NO_GPU
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@triton.jit
def _store(
    key, value, keys, values, cells, k_token, k_head, v_token, v_head,
    HEADS: tl.constexpr, DK: tl.constexpr, DV: tl.constexpr,
    BLOCK_DK: tl.constexpr, BLOCK_DV: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0), tl.program_id(1)
    place = tl.load(cells + token) * HEADS + head
    d, e = tl.arange(0, BLOCK_DK), tl.arange(0, BLOCK_DV)
    k = tl.load(key + token * k_token + head * k_head + d, mask=d < DK)
    v = tl.load(value + token * v_token + head * v_head + e, mask=e < DV)
    tl.store(keys + place * DK + d, k, mask=d < DK)
    tl.store(values + place * DV + e, v, mask=e < DV)


@triton.jit
def _walked(
    q, keys, values, pages, head, low, high, position, scale,
    KV_HEADS: tl.constexpr, PAGE: tl.constexpr, DK: tl.constexpr, DV: tl.constexpr,
    BLOCK_DK: tl.constexpr, BLOCK_DV: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    WINDOW: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """Queries (BLOCK_M, BLOCK_DK) over one row's keys from low to high: the best score of each, the
    sum of exp(score - best), and the values (BLOCK_M, BLOCK_DV) weighed by it."""
    d, e = tl.arange(0, BLOCK_DK), tl.arange(0, BLOCK_DV)
    best = tl.full([BLOCK_M], -1e30, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    found = tl.zeros([BLOCK_M, BLOCK_DV], tl.float32)
    for n in range(low, high, BLOCK_N):
        at = n + tl.arange(0, BLOCK_N)
        inside = at < high
        page = tl.load(pages + at // PAGE, mask=inside, other=0).to(tl.int64)
        cell = (page * PAGE + at % PAGE) * KV_HEADS + head
        k = tl.load(
            keys + cell[None, :] * DK + d[:, None],
            mask=inside[None, :] & (d < DK)[:, None], other=0.0,
        )  # fmt: skip
        scores = tl.dot(q, k, input_precision="ieee") * scale
        if SOFTCAP > 0:
            scores = SOFTCAP * (2 * tl.sigmoid(2 * scores / SOFTCAP) - 1)
        seen = inside[None, :] & (at[None, :] <= position[:, None])
        if WINDOW > 0:
            seen = seen & (at[None, :] > position[:, None] - WINDOW)
        scores = tl.where(seen, scores, -1e30)
        more = tl.maximum(best, tl.max(scores, 1))
        p = tl.where(seen, tl.exp(scores - more[:, None]), 0.0)
        fade = tl.exp(best - more)
        v = tl.load(
            values + cell[:, None] * DV + e[None, :],
            mask=inside[:, None] & (e < DV)[None, :], other=0.0,
        )  # fmt: skip
        found = found * fade[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        total = total * fade + tl.sum(p, 1)
        best = more
    return best, total, found


@triton.jit
def _attend(
    query, keys, values, part, weight, sinks, tile_rows, tile_first,
    starts, counts, ends, table, scale, tokens, q_token, q_head, table_row,
    HEADS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, PAGE: tl.constexpr,
    DK: tl.constexpr, DV: tl.constexpr, BLOCK_DK: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, SPLITS: tl.constexpr,
    WINDOW: tl.constexpr, SOFTCAP: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    tile, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    row, first = tl.load(tile_rows + tile), tl.load(tile_first + tile)
    count, end, start = tl.load(counts + row), tl.load(ends + row), tl.load(starts + row)
    places = tl.load(starts + row + 1) - start
    m, d, e = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_DK), tl.arange(0, BLOCK_DV)
    index, head_q = first + m // GROUP, head * GROUP + m % GROUP
    mine = (m // GROUP < TILE) & (index < places)
    real = mine & (index < count)
    position, token = end - count + index, (start + index).to(tl.int64)
    q = tl.load(
        query + token[:, None] * q_token + head_q[:, None] * q_head + d[None, :],
        mask=real[:, None] & (d < DK)[None, :], other=0.0,
    )  # fmt: skip
    low = 0
    if WINDOW > 0:
        low = tl.maximum(end - count + first - WINDOW + 1, 0)
    high = tl.minimum(end, end - count + first + TILE)
    high = tl.where(first < count, high, low)  # padding alone looks at no key
    each = tl.cdiv(tl.cdiv(high - low, BLOCK_N), SPLITS) * BLOCK_N
    low = low + split * each
    high = tl.minimum(low + each, high)
    best, total, found = _walked(
        q, keys, values, table + row * table_row, head, low, high, position, scale,
        HEADS // GROUP, PAGE, DK, DV, BLOCK_DK, BLOCK_DV, BLOCK_M, BLOCK_N, WINDOW, SOFTCAP,
    )  # fmt: skip
    if SPLITS == 1:
        if SINKS:
            sink = tl.load(sinks + head_q, mask=mine, other=0.0).to(tl.float32)
            more = tl.maximum(best, sink)
            found = found * tl.exp(best - more)[:, None]
            total = total * tl.exp(best - more) + tl.exp(sink - more)
    weighed = tl.where(total > 0, total, 1.0)  # no key was seen: 0, of no weight
    shared = found / weighed[:, None]
    place = (split.to(tl.int64) * tokens + token) * HEADS + head_q
    tl.store(
        part + place[:, None] * DV + e[None, :], shared.to(part.dtype.element_ty),
        mask=mine[:, None] & (e < DV)[None, :],
    )  # fmt: skip
    if SPLITS > 1:
        tl.store(weight + place, tl.where(total > 0, best + tl.log(weighed), -1e30), mask=mine)


@triton.jit
def _merge(
    part, weight, sinks, out, tokens,
    HEADS: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    SPLITS: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    split, e = tl.arange(0, SPLITS), tl.arange(0, BLOCK_DV)
    place = (split.to(tl.int64) * tokens + token) * HEADS + head
    heavy = tl.load(weight + place)
    best = tl.max(heavy, 0)
    rest = 0.0
    if SINKS:
        sink = tl.load(sinks + head).to(tl.float32)
        best = tl.maximum(best, sink)
        rest = tl.exp(sink - best)
    shares = tl.exp(heavy - best)
    found = tl.load(
        part + place[:, None] * DV + e[None, :], mask=(e < DV)[None, :], other=0.0
    )  # fmt: skip
    merged = tl.sum(found * shares[:, None], 0) / (tl.sum(shares, 0) + rest)
    tl.store(
        out + (token * HEADS + head) * DV + e, merged.to(out.dtype.element_ty), mask=e < DV
    )  # fmt: skip
