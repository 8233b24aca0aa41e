"""One threshold inside the thought and another in the answer: a slip in a thought may still be
caught, one in the answer is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Policy, Signals, hand_off, need_number, threshold
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class PerPhase(Policy):
    """The entropy rule with tau_think inside <think> and tau_answer outside."""

    name: ClassVar[str] = "phase"
    reads: ClassVar[tuple[str, ...]] = ("phase",)

    tau_think: float
    """For positions inside a thought; its closing mark is one of them."""
    tau_answer: float
    """For all others. Below 0 the LLM writes the answer."""

    def __post_init__(self) -> None:
        need_number("tau_think", self.tau_think)
        need_number("tau_answer", self.tau_answer)

    def start(self) -> Side:
        return self.sides()[0]

    def sides(self) -> tuple[Side, ...]:
        taus = (self.tau_think, self.tau_answer)
        if max(taus) < 0:
            return (Side.LLM,)
        return (Side.SLM,) if min(taus) >= 1 else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        return (threshold(self.tau_think), threshold(self.tau_answer))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        tau = torch.where(signals.phase > 0, state[:, 0], state[:, 1])
        unsure = signals.entropy > tau
        return hand_off(signals, unsure, ~unsure, state)
