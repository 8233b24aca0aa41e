"""The entropy rule with a safety net: when the LLM catches up, it takes back what it would not say.

The pass in which the LLM reads the SLM's tokens scores every one of them for free, confident errors
included, which no property of the SLM's own distribution shows. BiLD's rollback is the same idea.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from rstitch.errors import BadRequest
from rstitch.policy.base import is_number
from rstitch.policy.entropy import EntropyThreshold


@dataclass(frozen=True, slots=True)
class Rewind(EntropyThreshold):
    """Leave the SLM where H > tau, the LLM where H <= tau. When the LLM is asked, the first of the
    SLM's tokens since the last time that it gives less than epsilon goes, with all after it."""

    name: ClassVar[str] = "rewind"
    reads: ClassVar[tuple[str, ...]] = ("span",)

    epsilon: float = 0.01
    """Raw probability, temperature 1. At 0 nothing is taken back."""

    def __post_init__(self) -> None:
        EntropyThreshold.__post_init__(self)
        if not is_number(self.epsilon) or not 0 <= self.epsilon <= 1:
            raise BadRequest(f"epsilon is {self.epsilon!r}; it must be a probability, 0 to 1")

    def confirm(self, scores: Sequence[float]) -> int:
        exact = math.log(self.epsilon) if self.epsilon else -math.inf
        bound = float(torch.tensor(exact, dtype=torch.float32))  # as scores are
        return next((i for i, score in enumerate(scores) if score < bound), len(scores))
