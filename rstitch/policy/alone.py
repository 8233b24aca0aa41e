"""One model by itself: the two baselines, through the same engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Policy, RowSignals, Signals
from rstitch.types import Side


class _Alone(Policy):
    """Keeps every token and never hands over; the other side is not run at all."""

    side: ClassVar[Side]

    def start(self) -> Side:
        return self.side

    def sides(self) -> tuple[Side, ...]:
        return (self.side,)

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        return seen.side, True

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
