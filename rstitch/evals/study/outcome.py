"""What came of a study: per budget and task a line for every method, ours beside the paper's.

Accuracy is of all problems, many in flight; seconds are measured on the timed problems, one answer
at a time, and priced for all the others. Every figure says which of these it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from rstitch.evals import directory
from rstitch.evals import table as made
from rstitch.evals.study import price as pricing
from rstitch.evals.study.cells import Cell, Kind, cells
from rstitch.evals.study.kept import Kept
from rstitch.evals.study.paper import Figures, figures
from rstitch.evals.study.price import Prices
from rstitch.evals.table import Row

PRICED, BY_RATIO = "priced", "priced by its ratio to the LLM on the timed problems"


@dataclass(frozen=True, slots=True)
class Priced:
    """Seconds an answer that nobody timed."""

    seconds: float
    speed_up: float | None
    """Over the LLM's priced seconds, of the same problems."""
    how: str
    """`PRICED` or `BY_RATIO`."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method on one task under one budget."""

    budget: int
    task: str
    method: str
    """With "draft: " before it where the SLM was the other draft."""
    accuracy: Row
    timed: Row | None
    """One answer at a time; None where that was not measured."""
    priced: Priced | None
    paper: Figures | None
    timed_only: bool
    """It answers one at a time, so its accuracy is of the timed problems, not of all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    lines: list[Line]
    prices: Prices | None
    warnings: list[str]


@dataclass(slots=True)
class _Read:
    """A cell as it was read: records without traces, and counts of passes by method."""

    rows: dict[str, Row]
    warnings: list[str]
    passes: dict[str, list[tuple[str, tuple[float, ...], float]]] = field(default_factory=dict)
    """(problem, counts, seconds) of each answer that can be priced."""
    partly: set[str] = field(default_factory=set)
    """Methods with answers that cannot. Those are the dear ones (a cascade's second answer), so the
    others say nothing about the method."""


def outcome(kept: Kept) -> Outcome:
    """Of what is finished."""
    found = {cell: _read(kept, cell) for cell in cells(kept.study)}
    read = {cell: one for cell, one in found.items() if one is not None}
    timed = [
        answer
        for cell, one in read.items()
        if cell.kind == "latency"
        for answers in one.passes.values()
        for answer in answers
    ]
    prices = pricing.fit(timed)
    lines = [line for budget in kept.study.budgets for line in _budget(kept, budget, read, prices)]
    return Outcome(lines, prices, _warnings(read))


def _read(kept: Kept, cell: Cell) -> _Read | None:
    place = kept.cell(cell.name)
    if not (place / directory.CONFIG).is_file():
        return None
    config, records = directory.read_config(place), []
    found = _Read({}, [])
    for record in directory.read_records(place):
        records.append(directory.light(record))
        if record["type"] != "answer" or record["reason"] == "failed":
            continue
        if pricing.priceable(record):
            row = record["problem"], pricing.counts(record), pricing.measured(record)
            found.passes.setdefault(record["method"], []).append(row)
        else:
            found.partly.add(record["method"])
    table = made.table(config, records)
    found.rows, found.warnings = {row.method: row for row in table.rows}, table.warnings
    return found


def _budget(
    kept: Kept, budget: int, read: Mapping[Cell, _Read], prices: Prices | None
) -> Iterator[Line]:
    for task in kept.study.tasks:
        kinds: dict[Kind, _Read] = {
            cell.kind: one
            for cell, one in read.items()
            if (cell.budget, cell.task) == (budget, task)
        }
        yield from _task(kept, budget, task, kinds, prices)


def _task(
    kept: Kept, budget: int, task: str, kinds: Mapping[Kind, _Read], prices: Prices | None
) -> Iterator[Line]:
    nothing = _Read({}, [])
    every, timed, draft = (kinds.get(kind, nothing) for kind in ("accuracy", "latency", "draft"))
    priced = _priced(every, prices)
    base = priced.get("llm")

    def line(
        method: str, accuracy: Row, timed: Row | None, priced: Priced | None, only: bool
    ) -> Line:
        known = figures(kept.study.paper, budget, method, task)
        return Line(budget, task, method, accuracy, timed, priced, known, timed_only=only)

    llm = timed.rows.get("llm")
    for method, row in every.rows.items():
        alone = timed.rows.get(method)
        price = priced.get(method) or (_by_ratio(alone, llm, base) if alone else None)
        yield line(method, row, alone, price, False)
    for prefix, one in (("", timed), ("draft: ", draft)):
        for method, row in one.rows.items():
            if method not in every.rows:
                named = replace(row, method=prefix + method)
                yield line(named.method, named, named, _by_ratio(row, llm, base), True)


def _priced(every: _Read, prices: Prices | None) -> dict[str, Priced]:
    if prices is None:
        return {}
    seconds = {
        method: fmean(prices.seconds(counted) for _, counted, _ in answers)
        for method, answers in every.passes.items()
        if method not in every.partly
    }
    base = seconds.get("llm")
    return {
        method: Priced(one, base / one if base and one else None, PRICED)
        for method, one in seconds.items()
    }


def _by_ratio(row: Row, llm: Row | None, base: Priced | None) -> Priced | None:
    """The LLM's priced seconds of all problems, times what ours took over what the LLM took."""
    if llm is None or base is None or not llm.seconds or not row.seconds:
        return None
    ratio = row.seconds / llm.seconds
    return Priced(base.seconds * ratio, 1 / ratio, BY_RATIO)


def _warnings(read: Mapping[Cell, _Read]) -> list[str]:
    """Those of the runs; what a small timed set cannot show about accuracy is no news."""
    found = []
    for cell, one in read.items():
        for warning in one.warnings:
            if cell.kind == "accuracy" or " failed: " in warning or "not finished" in warning:
                found.append(f"{cell.name}: {warning}")
    return found


def overall(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Per budget and method over all tasks: mean accuracy, and the geometric mean of the priced
    speed-ups; the paper's by the same rule. Only where every task has the method. timed_only: the
    accuracy is of the timed problems, so not to be held against that of all."""
    found: list[dict[str, Any]] = []
    tasks = {line.task for line in lines}
    keys = dict.fromkeys((line.budget, line.method) for line in lines)
    for budget, method in keys:
        ours = [one for one in lines if (one.budget, one.method) == (budget, method)]
        if len(ours) < len(tasks) or len(tasks) < 2:
            continue
        known = [one.paper for one in ours if one.paper]
        whole = known if len(known) == len(ours) else []
        found.append({
            "budget": budget,
            "method": method,
            "right": 100 * fmean(one.accuracy.right for one in ours),
            "timed_only": any(one.timed_only for one in ours),
            "speed_up": _geometric([one.priced.speed_up if one.priced else None for one in ours]),
            "paper_right": fmean(one.right for one in whole) if whole else None,
            "paper_speed_up": _geometric([one.speed_up for one in whole]) if whole else None,
        })  # fmt: skip
    return found


def _geometric(values: Sequence[float | None]) -> float | None:
    product = 1.0
    for value in values:
        if value is None:
            return None
        product *= value
    return product ** (1 / len(values)) if values else None
