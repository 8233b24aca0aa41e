"""The paper's table as a page: a frontier for every pair, aggregates, and the contradictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from rstitch.paper.table import SETS, SOURCE, Cell, of, pairs
from rstitch.report.draw.scene import Scene
from rstitch.report.draw.svg import svg
from rstitch.report.figures.frontier import Spot, frontier
from rstitch.report.kinds import Kind
from rstitch.report.page import NARROW, WIDE, rendered
from rstitch.report.paper.check import Aggregate, aggregates, contradictions
from rstitch.report.paper.said import sentence

KINDS: dict[str, Kind] = {"LLM": "llm", "SLM": "slm", "SpecDec": "rival"}


def figures(cells: Sequence[Cell], width: float = WIDE) -> Iterator[tuple[str, Scene]]:
    """(file name, drawing) of every pair and budget: macro accuracy against seconds an answer."""
    for budget, llm in pairs(cells):
        rows = [a for a in aggregates(cells) if (a.budget, a.llm) == (budget, llm)]
        name = "seconds per answer, mean over all 1,560 problems"
        title = f"{llm} at {budget}: mean accuracy of the five sets against seconds per answer"
        yield f"paper-{llm}-{budget}", frontier(_spots(cells, budget, rows), width, name, title)


def _spots(cells: Sequence[Cell], budget: str, rows: Sequence[Aggregate]) -> list[Spot]:
    slm = of(cells, budget, "-")["SLM"]
    problems = sum(c.problems for c in slm)
    seconds = sum(c.problems * c.seconds for c in slm) / problems
    alone = Spot("SLM", "slm", seconds, sum(c.accuracy for c in slm) / len(slm) / 100)
    return [alone, *(_spot(one) for one in rows)]


def _spot(one: Aggregate) -> Spot:
    rule, _, tau = one.method.partition(" ")
    knob = ("tau", float(tau)) if tau else None
    return Spot(
        one.method, KINDS.get(rule, "ours"), one.seconds, one.accuracy / 100, knob=knob, curve=rule
    )


def page(cells: Sequence[Cell]) -> str:
    narrow = dict(figures(cells, NARROW))
    drawn = [
        {"name": scene.title.split(":")[0], "wide": Markup(svg(scene)),
         "narrow": Markup(svg(narrow[name]))}
        for name, scene in figures(cells)
    ]  # fmt: skip
    wrong = contradictions(cells)
    return rendered(
        "paper.html.j2",
        "rstitch: the paper's Table 1",
        source=SOURCE,
        figures=drawn,
        aggregates=_aggregates(cells),
        pairs=[f"{llm} {budget}" for budget, llm in pairs(cells)],
        contradictions=[sentence(one) for one in wrong],
        sets=[name for name, _ in SETS.values()],
        tables=list(_tables(cells)),
    )


def _aggregates(cells: Sequence[Cell]) -> list[tuple[str, list[str]]]:
    """Method -> a text for every pair."""
    every = {(a.method, a.budget, a.llm): a for a in aggregates(cells)}
    found = []
    for method in dict.fromkeys(name for name, _, _ in every):
        row = []
        for budget, llm in pairs(cells):
            one = every.get((method, budget, llm))
            fast = f", {one.geometric:.2f}x, {one.weighted:.2f}x" if one and method != "LLM" else ""
            row.append(f"{one.accuracy:.2f}{fast}" if one else "")
        found.append((method, row))
    return found


def _tables(cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    """Every cell, those that contradict others marked."""
    wrong = {one.cell for one in contradictions(cells)}
    for budget, llm in [("8k", "-"), *pairs(cells)]:
        rows = [
            (
                label,
                [(f"{c.accuracy:.2f} / {c.seconds:.2f}" + _printed(c), c in wrong) for c in row],
            )
            for label, row in of(cells, budget, llm).items()
        ]
        yield {"name": "SLM alone" if llm == "-" else f"{llm} at {budget}", "rows": rows}


def _printed(cell: Cell) -> str:
    return "" if cell.speed_up is None or cell.method == "LLM" else f" / {cell.speed_up:.2f}x"
