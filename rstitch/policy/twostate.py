"""Random hand-offs with given rates: the control that an uncertainty signal has to beat.

Two states reproduce a rule's LLM share and its run lengths, which a coin per token does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import (
    Decision,
    Policy,
    RowSignals,
    Signals,
    hand_off,
    handed_off,
    in_float32,
    is_number,
)
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class TwoState(Policy):
    """Leave the SLM with probability p, the LLM with probability q, at each position."""

    name: ClassVar[str] = "random"
    reads: ClassVar[tuple[str, ...]] = ("coin",)

    p: float
    """Of an SLM proposal being discarded and control passing to the LLM."""
    q: float
    """Of control passing back after an LLM token. Expected LLM run: 1/q tokens."""

    def __post_init__(self) -> None:
        for name, value in (("p", self.p), ("q", self.q)):
            if not is_number(value) or not 0 <= value <= 1:
                raise BadRequest(f"{name} is {value!r}; it must be a probability, 0 to 1")

    def initial_state(self) -> tuple[float, ...]:
        return (self.p, self.q)

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        if seen.side is Side.SLM:
            return handed_off(seen.side, seen.coin < in_float32(self.p))
        return handed_off(seen.side, not seen.coin < in_float32(self.q))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        return hand_off(signals, signals.coin < state[:, 0], signals.coin < state[:, 1], state)
