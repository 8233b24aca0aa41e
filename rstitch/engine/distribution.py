"""What is read off rows of logits before anything is decided about them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.runner import AS_NUMPY
from rstitch.policy.base import Floats
from rstitch.sampling import IMPOSSIBLE
from rstitch.shortlist import WIDE

FEW = 4
"""Rows up to which each is read by itself."""

Numbers = tuple[int, float, float]
"""Token, log-probability, entropy."""


class _Scratch(threading.local):
    """Room for one row per thread and width: made anew after a pass it takes a quarter of the time
    of a small row, since what the pass has used of the memory has to be found again."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Floats, Floats, float]] = {}

    def of(self, width: int) -> tuple[Floats, Floats, float]:
        """Two arrays (width,), and the entropy of that many alike tokens in nats."""
        found = self._made.get(width)
        if found is None:
            below, weights = np.empty((2, width), np.float32)
            found = self._made[width] = below, weights, math.log(width)
        return found


_scratch = _Scratch()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Of rows of raw logits; tensors of shape (rows,)."""

    likeliest: Tensor
    """int64: token ids."""
    best: Tensor
    """float32: their log-probabilities."""
    entropy: Tensor
    """float32, normalised."""
    logp: Tensor | None = None
    """float32 (rows, V); None where nobody asked."""


def read(logits: Tensor, vocab_size: int, whole: bool) -> Distribution:
    """Of raw logits (rows, columns) the first `vocab_size`.

    whole: with all log-probabilities, which take a CPU half of the time again.
    """
    logp = sampling.log_probs(logits, vocab_size) if whole else None
    raw = floats(logits) if vocab_size > 1 else None
    if raw is None:
        logp = sampling.log_probs(logits, vocab_size) if logp is None else logp
        best_of, likeliest = logp.max(-1)
        return Distribution(likeliest, best_of, sampling.entropy(logp), logp)
    ids, best, entropy = map(torch.tensor, zip(*numbers(raw[:, :vocab_size]), strict=True))
    if logp is not None:  # the same to the last bit as what else is told of it
        best = logp.gather(1, ids[:, None])[:, 0]
    return Distribution(ids, best, entropy, logp)


def floats(logits: Tensor) -> Floats | None:
    """The same memory as numpy's; None where it is elsewhere, or no float32. A runner whose logits
    always lie in one place leaves that on the tensor: asking torch is a tenth of the gate."""
    found: Floats | None = getattr(logits, AS_NUMPY, None)
    if found is None and logits.device.type == "cpu" and logits.dtype is torch.float32:
        found = logits.numpy()
    return found


def numbers(raw: Floats) -> Iterable[Numbers]:
    """Of rows of raw logits (rows, V), without padded columns.

    Row by row where there are few: numpy's calls along an axis cost three times those without.
    So too where they are wide: a row stays in the cache, and all of them would not.
    """
    one_by_one = len(raw) <= FEW or raw.shape[1] > WIDE
    return _one_by_one(raw) if one_by_one else _together(raw)


def _one_by_one(raw: Floats) -> Iterable[Numbers]:
    below, weights, scale = _scratch.of(raw.shape[1])
    found = list[Numbers]()
    for row in raw:
        best = int(row.argmax())
        np.subtract(row, row[best], out=below)  # logits, 0 at the best
        np.exp(below, out=weights)
        inner, total = float(np.vdot(weights, below)), float(np.add.reduce(weights))
        if inner != inner:  # 0 x -inf, of which vdot does not warn; impossible tokens are rare
            inner = float(np.vdot(weights, np.maximum(below, -IMPOSSIBLE, out=below)))
        log = math.log(total)
        entropy = float(np.float32((log - inner / total) / scale))
        found.append((best, float(np.float32(-log)), min(max(entropy, 0.0), 1.0)))
    return found


def _together(raw: Floats) -> Iterable[Numbers]:
    best = raw.argmax(1)
    below = raw - raw.max(1, keepdims=True)
    np.maximum(below, -IMPOSSIBLE, out=below)
    weights = np.exp(below)
    sums = weights.sum(1)
    logs = np.log(sums)
    nats = logs - np.fromiter(map(np.dot, weights, below), np.float32, len(raw)) / sums
    entropies = np.clip(nats / np.float32(math.log(raw.shape[1])), 0.0, 1.0)
    return zip(best.tolist(), (-logs).tolist(), entropies.tolist(), strict=True)
