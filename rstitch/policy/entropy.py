"""R-Stitch's rule: one entropy threshold, both ways (arXiv 2507.17307, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import Decision, Policy, Signals, hand_off, is_number
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class EntropyThreshold(Policy):
    """Leave the SLM where H > tau, leave the LLM where H <= tau; each judged by its own entropy."""

    name: ClassVar[str] = "entropy"

    tau: float
    """Normalised entropy. At 1 and above the SLM writes alone, below 0 the LLM: both exactly."""

    def __post_init__(self) -> None:
        if not is_number(self.tau):
            raise BadRequest(f"tau is {self.tau!r}; it must be a number such as 0.02")

    def start(self) -> Side:
        return Side.LLM if self.tau < 0 else Side.SLM

    def sides(self) -> tuple[Side, ...]:
        if self.tau < 0:
            return (Side.LLM,)
        return (Side.SLM,) if self.tau >= 1 else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        # Below 0 is the LLM alone, however little: float32 would round -1e-46 to -0.
        return (-1.0 if self.tau < 0 else float(self.tau),)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)
