"""The gate where little is asked: greedy rows on the CPU whose policies decide row by row.

The same numbers as `gate` and `sampling`, in a fraction of the time (docs/log.md): beside a small
model's pass of a tenth of a millisecond, twenty tensor operations of a few microseconds each are
most of a step.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence as Many

import numpy as np
from torch import Tensor

from rstitch import sampling
from rstitch.engine.distribution import floats, numbers
from rstitch.engine.sequence import Sequence
from rstitch.engine.signals import Clock
from rstitch.policy.base import Floats
from rstitch.types import Proposal, Side


class Seen:
    """`rstitch.policy.base.RowSignals` of one row."""

    __slots__ = ("_clock", "_elapsed", "_row", "entropy", "hidden", "score", "side")

    def __init__(
        self, row: Sequence, side: Side, entropy: float, hidden: Floats | None, clock: Clock
    ) -> None:
        self._row, self._clock, self._elapsed = row, clock, -1.0
        self.side, self.entropy, self.hidden, self.score = side, entropy, hidden, 0.0

    @property
    def context(self) -> int:
        return self._row.length(self.side)

    @property
    def elapsed(self) -> float:
        if self._elapsed < 0:  # one moment, however often it is read
            self._elapsed = float(np.float32(self._clock() - self._row.accepted))
        return self._elapsed

    @property
    def coin(self) -> float:
        return sampling.coin(self._row.seed, len(self._row.tokens), int(self.side))

    @property
    def state(self) -> array[float]:
        return self._row.state

    @state.setter
    def state(self, new: Many[float]) -> None:
        self._row.state = array("f", new)


def serves(
    logits: Tensor, rows: Many[Sequence], vocab_size: int, hidden: Tensor | None = None
) -> bool:
    """Whether nothing is asked of these rows that is not done here."""
    for row in rows:
        asked = row.request
        if not asked.policy.rowwise or not asked.sampling.likeliest or asked.top_logprobs:
            return False
    if hidden is not None and floats(hidden) is None:
        return False
    return vocab_size > 1 and floats(logits) is not None


def read(
    logits: Tensor,
    rows: Many[Sequence],
    side: Side,
    vocab_size: int,
    hidden: Tensor | None = None,
    clock: Clock = time.perf_counter,
) -> list[Proposal]:
    """One proposal per row of raw logits (rows, columns); policies' memories move on."""
    raw = floats(logits)
    states: Many[Floats | None] | Floats | None = [None] * len(rows)
    if hidden is not None:
        states = floats(hidden)
    assert raw is not None and states is not None
    return [
        _proposal(row, token, logprob, Seen(row, side, entropy, state, clock))
        for row, (token, logprob, entropy), state in zip(
            rows, numbers(raw[:, :vocab_size]), states, strict=True
        )
    ]


def _proposal(row: Sequence, token: int, logprob: float, seen: Seen) -> Proposal:
    policy, side, told = row.request.policy, seen.side, dict[str, float]()
    try:
        next_side, keep = policy.decide_row(seen)
        if policy.reads:
            told = {name: float(getattr(seen, name)) for name in policy.reads}
    except Exception as error:  # it alone ends, not those it shares the pass with
        row.blame("decide()", error)
        next_side, keep = side, True
    return Proposal(len(row.tokens), token, side, keep, next_side, seen.entropy, logprob, told)
