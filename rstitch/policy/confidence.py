"""The rule of the paper's first version: a threshold on the likeliest token's probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import Decision, Policy, Signals, hand_off, is_number


@dataclass(frozen=True, slots=True)
class Confidence(Policy):
    """Leave the SLM where max p < threshold, the LLM where max p >= threshold (v1, July 2025)."""

    name: ClassVar[str] = "confidence"
    reads: ClassVar[tuple[str, ...]] = ("max_prob",)

    threshold: float
    """Probability; higher means more LLM. The paper's v1 tries 0.5 to 0.8."""

    def __post_init__(self) -> None:
        if not is_number(self.threshold) or not 0 <= self.threshold <= 1:
            raise BadRequest(f"threshold is {self.threshold!r}; it must be between 0 and 1")

    def initial_state(self) -> tuple[float, ...]:
        return (self.threshold,)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.max_prob < state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)
