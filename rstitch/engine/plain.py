"""The gate where little is asked: greedy rows on the CPU whose policies read the entropy alone.

The same numbers as `gate` and `sampling`, in a fraction of the time (docs/log.md): beside a small
model's pass of a tenth of a millisecond, twenty tensor operations of a few microseconds each are
most of a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many

import numpy as np
import torch
from torch import Tensor

from rstitch.engine.sequence import Sequence
from rstitch.sampling import IMPOSSIBLE
from rstitch.types import Proposal, Side


def serves(logits: Tensor, rows: Many[Sequence], vocab_size: int) -> bool:
    """Whether nothing is asked of these rows that is not done here."""
    if logits.device.type != "cpu" or logits.dtype is not torch.float32 or vocab_size < 2:
        return False
    requests = [row.request for row in rows]
    return all(
        r.policy.plain and r.sampling.temperature == 0 and not r.top_logprobs for r in requests
    )


def read(logits: Tensor, rows: Many[Sequence], side: Side, vocab_size: int) -> list[Proposal]:
    """One proposal per row of raw logits (rows, columns); policies asked here have no memory."""
    raw = logits.numpy()[:, :vocab_size]
    best = raw.argmax(1)
    below = raw - raw.max(1, keepdims=True)  # logits, 0 at the best
    np.maximum(below, -IMPOSSIBLE, out=below)
    weights = np.exp(below)
    sums = weights.sum(1)
    logs = np.log(sums)
    nats = logs - np.fromiter(map(np.dot, weights, below), np.float32, len(rows)) / sums
    entropies = np.clip(nats / np.float32(math.log(vocab_size)), 0.0, 1.0)
    return [
        _proposal(row, side, token, -log, entropy)
        for row, token, log, entropy in zip(
            rows, best.tolist(), logs.tolist(), entropies.tolist(), strict=True
        )
    ]


def _proposal(row: Sequence, side: Side, token: int, logprob: float, entropy: float) -> Proposal:
    next_side, keep = row.request.policy.decide_plainly(side, entropy)
    return Proposal(len(row.tokens), token, side, keep, next_side, entropy, logprob, {})
