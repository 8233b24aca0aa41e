"""The gap between the two likeliest tokens: small where two ways to go on compete, whatever the
rest of the distribution looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import Decision, Policy, Signals, hand_off, is_number


@dataclass(frozen=True, slots=True)
class Margin(Policy):
    """Leave the SLM where p1 - p2 < bound, the LLM where p1 - p2 >= bound."""

    name: ClassVar[str] = "margin"
    reads: ClassVar[tuple[str, ...]] = ("margin",)

    bound: float
    """Difference of probabilities; higher means more LLM, 0 the SLM alone."""

    def __post_init__(self) -> None:
        if not is_number(self.bound) or not 0 <= self.bound <= 1:
            raise BadRequest(f"bound is {self.bound!r}; it must be between 0 and 1")

    def initial_state(self) -> tuple[float, ...]:
        return (self.bound,)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.margin < state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)
