"""The gate where little is asked: greedy rows on the CPU whose policies read the entropy alone, or
count tokens and seconds, or score the hidden state of a row that is unsure.

The same numbers as `gate` and `sampling`, in a fraction of the time (docs/log.md): beside a small
model's pass of a tenth of a millisecond, twenty tensor operations of a few microseconds each are
most of a step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Many

import numpy as np
import torch
from torch import Tensor

from rstitch.engine.distribution import floats, numbers
from rstitch.engine.sequence import Sequence
from rstitch.engine.signals import Clock
from rstitch.policy.base import Floats
from rstitch.types import Proposal, Side


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
    if hidden is not None and floats(hidden) is None:
        return False
    return vocab_size > 1 and floats(logits) is not None


def _whole(tensor: Tensor) -> Floats:
    found = floats(tensor)
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
    """One proposal per row of raw logits (rows, columns); updates the memory of those who count."""
    found = numbers(_whole(logits)[:, :vocab_size])
    states = iter(()) if hidden is None else iter(_whole(hidden))
    now = clock() if any(row.request.policy.counting for row in rows) else 0.0
    return [
        _proposal(row, side, next(states, None), now, *numbers)
        for row, numbers in zip(rows, found, strict=True)
    ]


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
