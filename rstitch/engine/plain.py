"""The gate where little is asked: greedy rows on the CPU whose policies read the entropy alone, or
count tokens and seconds, or score the hidden state of a row that is unsure.

The same numbers as `gate` and `sampling`, in a fraction of the time (docs/log.md): beside a small
model's pass of a tenth of a millisecond, twenty tensor operations of a few microseconds each are
most of a step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from collections.abc import Sequence as Many

import numpy as np
import torch
from torch import Tensor

from rstitch.engine.runner import AS_NUMPY
from rstitch.engine.sequence import Sequence
from rstitch.engine.signals import Clock
from rstitch.policy.base import Floats
from rstitch.sampling import IMPOSSIBLE
from rstitch.types import Proposal, Side

FEW = 4
"""Rows up to which each is read by itself."""

Numbers = tuple[int, float, float]
"""Token, log-probability, entropy."""


def serves(
    logits: Tensor, rows: Many[Sequence], vocab_size: int, hidden: Tensor | None = None
) -> bool:
    """Whether nothing is asked of these rows that is not done here."""
    for row in rows:
        asked = row.request
        if (
            not (asked.policy.plain or asked.policy.quick or asked.policy.counting)
            or not asked.sampling.likeliest
            or asked.top_logprobs
        ):
            return False
    if hidden is not None and _floats(hidden) is None:
        return False
    return vocab_size > 1 and _floats(logits) is not None


def _floats(logits: Tensor) -> Floats | None:
    """The same memory as numpy's; None where it is elsewhere, or no float32. A runner whose logits
    always lie in one place leaves that on the tensor: asking torch is a tenth of the gate."""
    found: Floats | None = getattr(logits, AS_NUMPY, None)
    if found is None and logits.device.type == "cpu" and logits.dtype is torch.float32:
        found = logits.numpy()
    return found


def _whole(tensor: Tensor) -> Floats:
    found = _floats(tensor)
    assert found is not None
    return found


def read(
    logits: Tensor,
    rows: Many[Sequence],
    side: Side,
    vocab_size: int,
    hidden: Tensor | None = None,
    clock: Clock = time.perf_counter,
) -> list[Proposal]:
    """One proposal per row of raw logits (rows, columns); updates the memory of those that count.

    Row by row where there are few: numpy's calls along an axis cost three times those without.
    """
    raw = _whole(logits)[:, :vocab_size]
    read_all = _one_by_one if len(rows) <= FEW else _together
    found = read_all(raw, math.log(vocab_size))
    states = iter(()) if hidden is None else iter(_whole(hidden))
    now = clock() if any(row.request.policy.counting for row in rows) else 0.0
    return [
        _proposal(row, side, next(states, None), now, *numbers)
        for row, numbers in zip(rows, found, strict=True)
    ]


def _one_by_one(raw: Floats, scale: float) -> Iterable[Numbers]:
    below, weights = np.empty((2, raw.shape[1]), np.float32)
    for row in raw:
        best = int(row.argmax())
        np.subtract(row, row[best], out=below)  # logits, 0 at the best
        np.maximum(below, -IMPOSSIBLE, out=below)
        np.exp(below, out=weights)
        inner, total = float(weights.dot(below)), float(np.add.reduce(weights))
        log = math.log(total)
        entropy = float(np.float32((log - inner / total) / scale))
        yield best, float(np.float32(-log)), min(max(entropy, 0.0), 1.0)


def _together(raw: Floats, scale: float) -> Iterable[Numbers]:
    best = raw.argmax(1)
    below = raw - raw.max(1, keepdims=True)
    np.maximum(below, -IMPOSSIBLE, out=below)
    weights = np.exp(below)
    sums = weights.sum(1)
    logs = np.log(sums)
    nats = logs - np.fromiter(map(np.dot, weights, below), np.float32, len(raw)) / sums
    entropies = np.clip(nats / np.float32(scale), 0.0, 1.0)
    return zip(best.tolist(), (-logs).tolist(), entropies.tolist(), strict=True)


def _proposal(
    row: Sequence,
    side: Side,
    hidden: Floats | None,
    now: float,
    token: int,
    logprob: float,
    entropy: float,
) -> Proposal:
    try:
        next_side, keep, told = _decide(row, side, hidden, now, entropy)
    except Exception as error:  # it alone ends, not those it shares the pass with
        row.blame("decide()", error)
        next_side, keep, told = side, True, {}
    return Proposal(len(row.tokens), token, side, keep, next_side, entropy, logprob, told)


def _decide(
    row: Sequence, side: Side, hidden: Floats | None, now: float, entropy: float
) -> tuple[Side, bool, dict[str, float]]:
    """(next side, keep, recorded signals); the policy's memory moves on."""
    policy = row.request.policy
    if policy.plain:
        return *policy.decide_plainly(side, entropy), {}
    if policy.counting:
        elapsed = float(np.float32(now - row.accepted))
        next_side, keep, state = policy.decide_one(side, entropy, elapsed, row.state[0].tolist())
        row.state = torch.tensor([state], dtype=torch.float32)
        return next_side, keep, {"elapsed": elapsed} if policy.reads else {}
    return policy.propose(side, entropy, row.length(side), hidden)
