"""Models that cost exactly what a formula says, on a clock that only their passes move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.runner import Extend, Wanted
from rstitch.latency.forms import Form, Kind, Limits
from rstitch.latency.shape import Shape
from rstitch.types import Forward, Side
from tests.fakes import EOS, Scripted, sure, unsure
from tests.hashed import Clock

TRUE: dict[Kind, tuple[float, ...]] = {
    "one": (2e-6, 1e-3),
    "decode": (3e-6, 2e-4, 1.5e-3),
    "catch-up": (4e-8, 1e-7, 3e-5, 1e-6, 2e-3),
    "catch-ups": (4e-8, 1e-7, 3e-5, 1e-6, 1e-4, 3e-3),
    "prefill": (5e-8, 2e-7, 2e-5, 1e-6, 4e-3),
    "prefills": (5e-8, 2e-7, 2e-5, 1e-6, 2e-4, 5e-3),
}
"""Coefficients of the SLM; the LLM's are five times as large."""
FAR = Limits(10**6, 10**6, 10**6, 10**6)
Formula = Callable[[Side, Shape], float]


def true_form(kind: Kind, side: Side, limits: Limits = FAR) -> Form:
    factor = 5.0 if side is Side.LLM else 1.0
    return Form(kind, tuple(factor * c for c in TRUE[kind]), limits, 9, None)


def truth(side: Side, shape: Shape) -> float:
    from rstitch.latency.forms import kind_of

    return true_form(kind_of(shape), side).seconds(shape)


class Costed(Scripted):
    """Takes what the formula says."""

    def __init__(self, side: Side, clock: Clock, formula: Formula, rows: int, context: int) -> None:
        super().__init__(lambda n: unsure(3) if n % 4 == 3 else sure(4), 0, context, rows)
        self.side, self.clock, self.formula = side, clock, formula

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        shape = Shape.of((len(item.tokens), self.cached(item.row)) for item in batch)
        out = super().extend(batch, logits)
        self.clock.now += self.formula(self.side, shape)
        return out


def costed(
    formula: Formula = truth, rows: int = 8, context: int = 256, **settings: Any
) -> InProcessEngine:
    """An engine on two of them."""
    config = EngineConfig(max_rows=rows, **{"measure_costs": False, **settings})
    clock = Clock()
    runners = {side: Costed(side, clock, formula, rows, context) for side in Side}
    return InProcessEngine(runners, frozenset({EOS}), config, None, clock)


def forwards(*passes: tuple[str, int, int]) -> list[Forward]:
    """(side, new, context after) of each, alone, with no seconds."""
    return [Forward(Side[s.upper()], 1, new, context, new, 0.0) for s, new, context in passes]
