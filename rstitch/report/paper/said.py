"""The paper's table and its contradictions as text, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rstitch.paper.table import SOURCE, Cell
from rstitch.report.paper.check import Aggregate, Contradiction, aggregates, contradictions


def lines(cells: Sequence[Cell]) -> list[str]:
    """Aggregates of every pair, then what contradicts."""
    found = [SOURCE, "", "over the five sets: accuracy (mean), speed-up (geometric, by time)"]
    before = ("", "")
    for one in aggregates(cells):
        if (one.budget, one.llm) != before:
            before = one.budget, one.llm
            found.append(f"{one.llm}, {one.budget}")
        found.append(f"  {one.method:<15} {one.accuracy:6.2f}  {_speed(one)}".rstrip())
    wrong = contradictions(cells)
    found += ["", f"{len(wrong)} cells contradict others"]
    return found + [f"  {sentence(one)}" for one in wrong]


def _speed(one: Aggregate) -> str:
    return "" if one.method == "LLM" else f"{one.geometric:5.2f}x {one.weighted:5.2f}x"


def sentence(one: Contradiction) -> str:
    if one.what == "speed-up":
        return f"{one.cell.where}: printed {one.printed:.2f}x, its latencies make {one.due:.2f}x"
    n = one.cell.problems
    return (
        f"{one.cell.where}: {one.printed:.2f} % is no share of {n} problems; the nearest is "
        f"{round(one.due * n / 100)}/{n} = {one.due:.2f} %"
    )


def as_json(cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "source": SOURCE,
        "cells": [asdict(cell) for cell in cells],
        "aggregates": [asdict(one) for one in aggregates(cells)],
        "contradictions": [
            {**asdict(one), "sentence": sentence(one)} for one in contradictions(cells)
        ],
    }
