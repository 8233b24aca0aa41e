"""The paper's table: its sums as the reference sheet has them, and the cells that contradict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rstitch.paper.table import read
from rstitch.report.paper.check import accuracies, aggregates, speed_ups
from tests.cli.terminal import rstitch

AGGREGATES = {
    "LLM": [(53.81,), (59.10,), (57.47,), (64.94,), (56.59,), (70.60,)],
    "SpecDec": [(55.92, 0.68, 0.81), (63.55, 0.77, 0.78), (58.12, 1.00, 1.03),
                (63.97, 1.01, 0.91), (55.92, 1.27, 1.16), (72.62, 1.17, 1.01)],
    "R-Stitch 0.001": [(58.53, 1.08, 1.11), (62.84, 1.15, 1.08), (59.75, 1.18, 1.16),
                       (64.90, 1.42, 1.18), (60.65, 1.45, 1.30), (72.32, 1.51, 1.27)],
    "R-Stitch 0.02": [(56.36, 1.85, 1.79), (59.57, 2.16, 1.99), (57.30, 2.06, 2.01),
                      (56.72, 2.84, 2.91), (59.80, 2.63, 2.15), (64.76, 2.66, 2.33)],
    "R-Stitch 0.03": [(53.43, 2.43, 2.37), (55.13, 3.59, 3.26), (55.75, 3.06, 3.41),
                      (54.21, 4.45, 4.49), (56.72, 3.43, 3.02), (61.34, 4.08, 3.94)],
    "R-Stitch+": [(56.51, 2.61, 2.60), (62.02, 2.64, 2.36), (60.73, 1.68, 1.71),
                  (63.74, 2.09, 2.41)],
}  # fmt: skip
"""Macro accuracy, geometric-mean and time-weighted speed-up; 7B 8k, 7B 16k, 14B 8k and so on."""
PAIRS = [(llm, budget) for llm in ("7B", "14B", "32B") for budget in ("8k", "16k")]


def test_aggregates() -> None:
    found = {(a.method, a.llm, a.budget): a for a in aggregates(read())}
    for method, rows in AGGREGATES.items():
        for (llm, budget), due in zip(PAIRS, rows, strict=False):
            one = found[method, llm, budget]
            figures = one.accuracy, one.geometric, one.weighted
            assert figures[: len(due)] == pytest.approx(due, abs=0.0051), (method, llm, budget)
    assert len(found) == sum(map(len, AGGREGATES.values()))


def test_speed_ups_that_are_no_ratio() -> None:
    found = {(one.cell.where, one.printed, round(one.due, 2)) for one in speed_ups(read())}
    assert found == {
        ("7B R-Stitch 0.03, AIME 8k", 1.84, 2.06),
        ("7B R-Stitch+, OlympiadBench 8k", 2.34, 2.61),
        ("14B R-Stitch 0.02, MATH 8k", 2.05, 2.03),
        ("32B R-Stitch 0.001, AIME 8k", 1.40, 1.36),
        ("14B SpecDec, OlympiadBench 16k", 1.05, 0.88),
    }


def test_accuracies_that_are_no_share() -> None:
    found = {(one.cell.set, one.printed) for one in accuracies(read())}
    assert found == {
        ("math", 87.53), ("oly", 50.04), ("oly", 61.06), ("amc", 68.75), ("minerva", 44.23)
    }  # fmt: skip


def test_on_the_command_line(tmp_path: Path) -> None:
    page = tmp_path / "paper.html"
    done = rstitch("report", "--paper", "--out", str(page))
    assert done.code == 0 and "10 cells contradict others" in done.out, done
    text = page.read_text()
    assert "68.75 % is no share of 83 problems" in text and text.count('class="off"') == 10
    told = json.loads(rstitch("report", "--paper", "--json").out)
    assert len(told["cells"]) == 180 and "arXiv 2507.17307" in told["source"]
    assert "leave out runs" in rstitch("report", "--paper", "run").line
