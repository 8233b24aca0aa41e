"""One model by itself: the two baselines, through the same engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Policy, Signals
from rstitch.types import Side


class _Alone(Policy):
    """Keeps every token and never hands over; the other side is not run at all."""

    side: ClassVar[Side]
    plain: ClassVar[bool] = True

    def start(self) -> Side:
        return self.side

    def sides(self) -> tuple[Side, ...]:
        return (self.side,)

    def decide_plainly(self, side: Side, entropy: float) -> tuple[Side, bool]:
        return side, True

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        return Decision(signals.side, torch.ones_like(signals.side, dtype=torch.bool), state)


@dataclass(frozen=True, slots=True)
class SLMAlone(_Alone):
    name: ClassVar[str] = "slm"
    side: ClassVar[Side] = Side.SLM


@dataclass(frozen=True, slots=True)
class LLMAlone(_Alone):
    name: ClassVar[str] = "llm"
    side: ClassVar[Side] = Side.LLM
