"""R-Stitch's rule: one entropy threshold, both ways (arXiv 2507.17307, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rstitch.policy.base import (
    Decision,
    Policy,
    RowSignals,
    Signals,
    hand_off,
    handed_off,
    in_float32,
    need_number,
    threshold,
)
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class EntropyThreshold(Policy):
    """Leave the SLM where H > tau, leave the LLM where H <= tau; each judged by its own entropy."""

    name: ClassVar[str] = "entropy"

    tau: float
    """Normalised entropy. At 1 and above the SLM writes alone, below 0 the LLM: both exactly."""

    def __post_init__(self) -> None:
        need_number("tau", self.tau)

    def start(self) -> Side:
        return Side.LLM if self.tau < 0 else Side.SLM

    def sides(self) -> tuple[Side, ...]:
        if self.tau < 0:
            return (Side.LLM,)
        return (Side.SLM,) if self.tau >= 1 else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        return (threshold(self.tau),)

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        return handed_off(seen.side, seen.entropy > in_float32(self.tau))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)
