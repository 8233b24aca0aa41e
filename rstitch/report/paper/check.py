"""Which cells of the table contradict others, and what it says over all five sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.paper.table import Cell, of, pairs

LAST = 0.015
"""How far a printed speed-up may be off: a unit of its last digit, and what rounding hides. One
cell is off by just that (7B, tau 0.001, AIME 16k: 1.03 for 1.02), which may be a rounding of its
latency, so it is not listed."""
HALF = 0.005
"""What a percentage printed with two digits may be off by."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    cell: Cell
    printed: float
    due: float
    """What the other cells make it; for an accuracy the nearest that there is."""
    what: str


def contradictions(cells: Sequence[Cell]) -> list[Contradiction]:
    """Speed-ups that are not the ratio of the printed latencies, then accuracies that are no whole
    number of problems."""
    return [*speed_ups(cells), *accuracies(cells)]


def speed_ups(cells: Sequence[Cell]) -> list[Contradiction]:
    base = {(c.budget, c.llm, c.set): c.seconds for c in cells if c.method == "LLM"}
    found = []
    for cell in cells:
        if cell.speed_up is None or cell.method == "LLM":
            continue
        due = base[cell.budget, cell.llm, cell.set] / cell.seconds
        if abs(due - cell.speed_up) > LAST:
            found.append(Contradiction(cell, cell.speed_up, due, "speed-up"))
    return found


def accuracies(cells: Sequence[Cell]) -> list[Contradiction]:
    """Each once, though the SLM's rows are printed at both budgets."""
    found = []
    for cell in cells:
        right = round(cell.accuracy * cell.problems / 100)
        nearest = 100 * right / cell.problems
        if abs(nearest - cell.accuracy) > HALF + 1e-9:
            found.append(Contradiction(cell, cell.accuracy, nearest, "accuracy"))
    return found


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One method over all sets."""

    budget: str
    llm: str
    method: str
    accuracy: float
    """Mean over the sets, percent."""
    geometric: float
    """Geometric mean of the sets' speed-ups, from the latencies."""
    weighted: float
    """Seconds for all problems of the LLM over those of the method."""
    seconds: float
    """Per answer, over all problems."""


def aggregates(cells: Sequence[Cell]) -> list[Aggregate]:
    found = []
    for budget, llm in pairs(cells):
        methods = of(cells, budget, llm)
        base = methods["LLM"]
        for label, row in methods.items():
            ratios = [b.seconds / c.seconds for b, c in zip(base, row, strict=True)]
            found.append(
                Aggregate(
                    budget, llm, label, sum(c.accuracy for c in row) / len(row),
                    math.exp(sum(map(math.log, ratios)) / len(ratios)),
                    _total(base) / _total(row), _total(row) / sum(c.problems for c in row),
                )
            )  # fmt: skip
    return found


def _total(row: Sequence[Cell]) -> float:
    return sum(cell.problems * cell.seconds for cell in row)
