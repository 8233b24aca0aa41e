"""Two thresholds and a minimum stay: against control that flutters around a single threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import (
    Decision,
    Policy,
    Signals,
    hand_off,
    need_number,
    need_whole,
    threshold,
)
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class Hysteresis(Policy):
    """Leave the SLM where H > tau_out, the LLM where H <= tau_back, neither before a minimum stay.

    With tau_back = tau_out, min_slm = 0 and min_llm = 1 this is the plain entropy rule.
    """

    name: ClassVar[str] = "hysteresis"

    tau_out: float
    """Normalised entropy above which the SLM is left; at 1 and above it writes alone."""
    tau_back: float
    """Normalised entropy up to which the LLM is left; usually below tau_out. Where both are below
    0, the LLM writes alone."""
    min_slm: int = 0
    """Tokens that the SLM keeps in a stay before it may be left."""
    min_llm: int = 1
    """Tokens that the LLM writes in a stay before it may be left."""

    def __post_init__(self) -> None:
        need_number("tau_out", self.tau_out)
        need_number("tau_back", self.tau_back, "0.01")
        need_whole("min_slm", self.min_slm, 0)
        need_whole("min_llm", self.min_llm, 1)

    def start(self) -> Side:
        return self.sides()[0]

    def sides(self) -> tuple[Side, ...]:
        if self.tau_out < 0 and self.tau_back < 0:
            return (Side.LLM,)
        return (Side.SLM,) if self.tau_out >= 1 else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        """The parameters, and the tokens of this stay so far."""
        taus = (threshold(self.tau_out), threshold(self.tau_back))
        return (*taus, float(self.min_slm), float(self.min_llm), 0.0)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        tau_out, tau_back, min_slm, min_llm, stayed = state.unbind(1)
        leave_slm = (signals.entropy > tau_out) & (stayed >= min_slm)
        leave_llm = (signals.entropy <= tau_back) & (stayed + 1 >= min_llm)
        decision = hand_off(signals, leave_slm, leave_llm, state)
        stays = decision.next_side == signals.side
        stayed = torch.where(stays, stayed + 1, torch.zeros_like(stayed))
        return Decision(
            decision.next_side, decision.keep, torch.cat([state[:, :4], stayed[:, None]], dim=1)
        )
