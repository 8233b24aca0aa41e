"""The paper's own figures: Table 1 of arXiv 2507.17307 (v3, v4), one A100, batch 1.

Latencies in seconds a sample, accuracies in percent; five of its 140 printed speed-ups are not the
ratio of its latencies, so the ratio is what is given here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rstitch.evals.study.cells import plain
from rstitch.evals.study.spec import stitched

TABLE = Path(__file__).parents[2] / "report" / "paper" / "table1.csv"
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
    rows = _rows()
    row = rows.get((size, block, method)) or rows.get((size, "-", method))
    base = rows.get((size, block, "llm"))
    if row is None or base is None:
        return None
    right, seconds = (float(row[f"{column}_{what}"]) for what in ("acc", "lat"))
    return Figures(right, seconds, float(base[f"{column}_lat"]) / seconds)


@cache
def _rows() -> Mapping[tuple[str, str, str], Mapping[str, str]]:
    """By (budget, LLM, method as we label it)."""
    named = {"LLM": "llm", "SLM": "slm", "SpecDec": "speculative"}
    found = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            method = named.get(row["method"])
            if row["method"] == "R-Stitch":
                method = stitched(float(row["tau"]))
            if method is not None:
                found[row["budget"], row["llm"], method] = row
    return found
