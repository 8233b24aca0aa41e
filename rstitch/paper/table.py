"""Table 1 of arXiv 2507.17307 v3/v4, as printed there; read here and nowhere else."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

SETS: dict[str, tuple[str, int]] = {
    "aime": ("AIME", 30),
    "amc": ("AMC", 83),
    "minerva": ("Minerva", 272),
    "math": ("MATH", 500),
    "oly": ("OlympiadBench", 675),
}
"""Column -> (name, problems); the numbers of problems are those that the shares imply."""
SOURCE = "arXiv 2507.17307 v3/v4, Table 1; one A100, batch size 1"


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one set of problems."""

    budget: str
    """Most tokens of an answer: 8k or 16k."""
    llm: str
    """7B, 14B or 32B; - for the SLM alone, which is that of all three."""
    method: str
    tau: str
    set: str
    accuracy: float
    """Percent."""
    seconds: float
    """Per answer."""
    speed_up: float | None
    """As printed; None for the SLM alone."""

    @property
    def label(self) -> str:
        return f"{self.method} {self.tau}" if self.tau else self.method

    @property
    def where(self) -> str:
        llm = "" if self.llm == "-" else f"{self.llm} "
        return f"{llm}{self.label}, {SETS[self.set][0]} {self.budget}"

    @property
    def problems(self) -> int:
        return SETS[self.set][1]


def read() -> list[Cell]:
    """In the order of the table, sets within rows."""
    text = (files(__package__) / "table1.csv").read_text(encoding="utf-8")
    return [cell for row in csv.DictReader(text.splitlines()) for cell in _cells(row)]


def _cells(row: dict[str, str]) -> Iterator[Cell]:
    for name in SETS:
        printed = row[f"{name}_spd"]
        yield Cell(
            row["budget"], row["llm"], row["method"], row["tau"], name,
            float(row[f"{name}_acc"]), float(row[f"{name}_lat"]),
            float(printed) if printed else None,
        )  # fmt: skip


def of(cells: Sequence[Cell], budget: str, llm: str) -> dict[str, list[Cell]]:
    """Method -> its cells, of one LLM at one budget; the SLM alone is not among them."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if (cell.budget, cell.llm) == (budget, llm):
            found.setdefault(cell.label, []).append(cell)
    return found


def pairs(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """(budget, LLM) in the order of the table."""
    return list(dict.fromkeys((c.budget, c.llm) for c in cells if c.llm != "-"))
