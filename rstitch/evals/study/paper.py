"""The paper's own figures: Table 1 of arXiv 2507.17307 (v3, v4), one A100, batch 1.

Latencies in seconds a sample, accuracies in percent; five of its 140 printed speed-ups are not the
ratio of its latencies, so the ratio is what is given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from rstitch.evals.study.cells import plain
from rstitch.evals.study.spec import stitched
from rstitch.paper import table

COLUMNS = {
    "aime24": "aime",
    "amc83": "amc",
    "minerva": "minerva",
    "math500": "math",
    "olympiadbench": "oly",
}
"""Our task to its columns. amc23 has 40 problems, its AMC has 83: not the same set."""
BUDGETS = {"8k": (8000, 8192), "16k": (16000, 16384)}


@dataclass(frozen=True, slots=True)
class Figures:
    """One cell of the paper's table."""

    right: float
    """Percent."""
    seconds: float
    speed_up: float
    """Of the LLM's seconds over these."""


def figures(block: str, budget: int, method: str, task: str) -> Figures | None:
    """Of the rows 7B, 14B or 32B; None for what the paper does not have."""
    column = COLUMNS.get(plain(task).removesuffix(".jsonl"))
    size = next((name for name, sizes in BUDGETS.items() if budget in sizes), None)
    if not block or column is None or size is None:
        return None
    cells = _cells()
    cell = cells.get((size, block, method, column)) or cells.get((size, "-", method, column))
    base = cells.get((size, block, "llm", column))
    if cell is None or base is None:
        return None
    return Figures(cell.accuracy, cell.seconds, base.seconds / cell.seconds)


NAMES = {"LLM": "llm", "SLM": "slm", "SpecDec": "speculative"}


@cache
def _cells() -> Mapping[tuple[str, str, str, str], table.Cell]:
    """By (budget, LLM, method as we label it, problem set)."""
    return {(one.budget, one.llm, _label(one), one.set): one for one in table.read()}


def _label(cell: table.Cell) -> str:
    if cell.method == "R-Stitch":
        return stitched(float(cell.tau))
    return NAMES.get(cell.method, cell.method)
