"""An entropy gate that knows in hindsight which hand-offs to skip: the ceiling for any policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Policy, Signals, hand_off

LONGEST = 512


@dataclass(frozen=True, slots=True)
class Veto(Policy):
    """The entropy threshold, except that the SLM's token stays at the given answer positions."""

    name: ClassVar[str] = "veto"

    tau: float
    positions: tuple[int, ...]

    def initial_state(self) -> tuple[float, ...]:
        """tau, the position counter, then one flag per position."""
        flags = [0.0] * LONGEST
        for position in self.positions:
            flags[position] = 1.0
        return (self.tau, 0.0, *flags)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        vetoed = state.gather(1, state[:, 1:2].long() + 2)[:, 0] > 0
        decision = hand_off(signals, unsure & ~vetoed, ~unsure, state)
        moved = state.clone()
        moved[:, 1] = torch.clamp(state[:, 1] + decision.keep, max=LONGEST - 1)
        return Decision(decision.next_side, decision.keep, moved)
