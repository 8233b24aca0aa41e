"""What an answer took, in seconds that no clock measured: the sum of its forward passes' prices.

A clock would reward whatever ran while the machine was idle, and many rollouts share passes. Any
function from a trace to seconds will do (`Price`); this one knows one number per pass and one per
token that is fed, which is what the engine itself measures at load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rstitch.costs import LinearCosts
from rstitch.trace import Trace
from rstitch.types import Side

Price = Callable[[Trace], float]
"""Predicted seconds of an answer that is alone on the machine."""


@dataclass(frozen=True, slots=True)
class PassPrices:
    """Seconds of a pass, and of each token that it feeds."""

    costs: LinearCosts

    def __call__(self, trace: Trace) -> float:
        return sum(self.costs.seconds(one.side, one.new_tokens) for one in trace.forwards)

    @property
    def hand_off(self) -> float:
        """What leaving the SLM takes at least: its pass in vain, and one of the LLM."""
        return sum(self.costs.seconds(side, 1) for side in Side)
