"""Seconds of a recorded answer, predicted from the sizes of its passes; no model is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.latency.costs import PassCosts
from rstitch.latency.shape import Shape
from rstitch.types import Forward


@dataclass(frozen=True, slots=True)
class Price:
    """Predicted, for an answer that is written alone."""

    passes: float
    """Seconds in forward passes."""
    host: float
    """Seconds between them."""
    outside: int
    """Passes that lie outside the measured grid: their price is a guess."""

    @property
    def seconds(self) -> float:
        return self.passes + self.host


def price(forwards: Sequence[Forward], costs: PassCosts, *, beyond: bool = False) -> Price:
    """Of an answer with these passes, each run for it alone. Where it shared them, what others fed
    is not counted: their contexts are in no trace.

    Raises BadRequest where a pass lies outside the measured grid, unless `beyond`.
    """
    passes, outside = 0.0, 0
    for one in forwards:
        shape = Shape.even(1, one.new_tokens, one.context - one.new_tokens)
        outside += not costs.covers(one.side, shape)
        passes += costs.seconds(one.side, shape, beyond=beyond)
    return Price(passes, len(forwards) * costs.host.seconds(1), outside)
