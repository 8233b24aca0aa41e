"""From logits to a token: entropy, filters, counter-based noise. Pure batched tensor functions.

Every function takes one row per sequence and treats rows independently, so a row's result does not
depend on its batch. Signals are computed in float32 from the raw logits (temperature 1, before any
filter); R-Stitch's entropy is that of the paper (arXiv 2507.17307, section 3):

    H = -sum_i p_i ln p_i / ln V        in [0, 1], V = tokens the tokenizer really has
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
IMPOSSIBLE = 1e4  # nats
Whole = TypeVar("Whole", int, Tensor)

COIN_STREAM = 0x636F696E  # "coin": keeps the policies' noise apart from the tokens' noise


def log_probs(logits: Tensor, vocab_size: int) -> Tensor:
    """Raw log-probabilities, float32 (rows, vocab_size); padded columns are dropped."""
    return torch.log_softmax(logits[:, :vocab_size].float(), dim=-1)


def entropy(logp: Tensor) -> Tensor:
    """Normalised entropy of rows of log-probabilities: (rows, V) -> float32 (rows,) in [0, 1].

    Impossible tokens (-inf) contribute 0. Clamped, since a uniform row gives 1.0000001 in float32.
    """
    vocab_size = logp.shape[-1]
    if vocab_size == 1:
        return logp.new_zeros(logp.shape[0])
    # entr() would do the same in four times the time; e^-IMPOSSIBLE is 0 in float32.
    nats = (logp.exp() * (-logp).clamp(max=IMPOSSIBLE)).sum(-1)
    normalised: Tensor = (nats / math.log(vocab_size)).clamp(0.0, 1.0)
    return normalised


def hash32(x: Whole) -> Whole:
    """A well-mixed 32-bit hash (the "lowbias32" constants): int64 -> int64 in 0..2**32-1."""
    x = x & MASK32
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK32
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK32
    return x ^ (x >> 16)


def row_keys(seeds: Whole, positions: Whole, stream: int = 0) -> Whole:
    """One 32-bit key per (seed, position, stream): int64 (rows,) each -> int64 (rows,)."""
    key = hash32(seeds)
    key = hash32(hash32(key + (seeds >> 32)) + stream)
    return hash32(key ^ (positions * 0x9E3779B1))


def uniform(keys: Tensor) -> Tensor:
    """Keys to float64 in (0, 1), never 0 or 1."""
    return (keys.double() + 0.5) / 2**32


def coins(seeds: Tensor, positions: Tensor, side: int) -> Tensor:
    """The policies' noise: float32 (rows,) uniform in [0, 1), apart from the tokens' own noise."""
    return uniform(row_keys(seeds, positions, COIN_STREAM + side)).float().clamp(max=1 - 2**-24)


def coin(seed: int, position: int, side: int) -> float:
    """The same of one row, without a tensor: a float32 value."""
    key = row_keys(seed, position, COIN_STREAM + side)
    return min(float(np.float32((key + 0.5) / 2**32)), 1 - 2**-24)


def gumbel(seeds: Tensor, positions: Tensor, vocab_size: int, stream: int = 0) -> Tensor:
    """Gumbel noise per token id, a pure function of (seed, position, id): float32 (rows, V).

    The same on both sides and in any batch, so a hand-off does not change a draw. Where a position
    needs a second draw that is independent of the first, it takes another stream.
    """
    ids = torch.arange(vocab_size, device=seeds.device)
    return gumbel_of(ids[None, :], seeds, positions, stream)


def gumbel_of(ids: Tensor, seeds: Tensor, positions: Tensor, stream: int = 0) -> Tensor:
    """The same of some token ids alone: int64 (rows or 1, n) -> float32 (rows, n)."""
    keys = row_keys(seeds, positions, stream)[:, None]
    noise = uniform(hash32(hash32(ids ^ keys) + keys))
    return (-torch.log(-torch.log(noise))).float()


@dataclass(frozen=True, slots=True)
class Filters:
    """Sampling settings of the rows that sample, as tensors of shape (rows,)."""

    temperature: Tensor
    top_k: Tensor
    """int64; V keeps all."""
    top_p: Tensor
    min_p: Tensor

    def columns(self) -> tuple[Tensor, ...]:
        return self.temperature, self.top_k, self.top_p, self.min_p


def filtered(logp: Tensor, filters: Filters) -> Tensor:
    """Log-probabilities (unnormalised) after temperature, top-k, top-p, min-p; -inf where dropped.

    The likeliest token always stays.
    """
    best = logp.max(-1, keepdim=True).values
    scaled = (logp - best) / filters.temperature[:, None].clamp(min=1e-30)
    ranked, order = scaled.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(logp.shape[-1], device=logp.device)[None, :]
    keep = rank < filters.top_k[:, None]
    probs = torch.softmax(ranked.masked_fill(~keep, -torch.inf), dim=-1)
    before = probs.cumsum(-1) - probs
    keep &= (before < filters.top_p[:, None]) | (filters.top_p[:, None] >= 1)
    keep &= probs >= filters.min_p[:, None] * probs[:, :1]
    keep[:, 0].fill_(True)
    return scaled.masked_fill(~torch.zeros_like(keep).scatter(-1, order, keep), -torch.inf)


def draw(logp: Tensor, filters: Filters, seeds: Tensor, positions: Tensor) -> Tensor:
    """Sample one token id per row by the Gumbel-max rule: int64 (rows,)."""
    return (filtered(logp, filters) + gumbel(seeds, positions, logp.shape[-1])).argmax(-1)
