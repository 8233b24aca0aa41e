"""Figures of a table as a reader sees them, each rounded in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstitch.evals.table import Row, Table
from rstitch.report.kinds import Kind, kind_of
from rstitch.report.loaded import Loaded

Cells = Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One method of a table."""

    kind: Kind
    first: str
    cells: Cells


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; columns in which nobody has a value are left out."""

    head: Cells
    lines: Sequence[Line]


def accuracy(run: Loaded) -> Grid:
    base = run.table.baseline
    against = f"against {base}" if base else ""
    head = ["right %", "95 %", against, "90 %", "p", "", "cut off %", "failed", "answers"]
    return _grid(run, head, [_accuracy(row) for row in run.table.rows])


def _accuracy(row: Row) -> list[str]:
    low, high = row.interval
    right = [f"{100 * row.right:.2f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    found, last = (
        row.comparison,
        [
            f"{100 * row.truncated:.1f}",
            f"{row.failed}" if row.failed else "",
            f"{row.answers}",
        ],
    )
    if found is None or row.p is None:
        return [*right, "", "", "", "", *last]
    verdict = found.verdict
    needed = f", {found.needed} problems needed" if verdict == "unclear" and found.needed else ""
    between = f"{found.low:+.2f} to {found.high:+.2f}"
    p = f"{row.p:.2g}"
    return [*right, f"{found.points:+.2f}", between, p, f"{verdict}{needed}", *last]


def speed(run: Loaded) -> Grid:
    return _one_by_one(run) if run.table.in_flight == 1 else _in_flight(run)


def _one_by_one(run: Loaded) -> Grid:
    head = ["tokens", "LLM %", "off by", "hand-offs", "s/answer", "speed-up", "95 %", "geometric",
            "slower %", "= tokens", "x s/token", "checks free", ""]  # fmt: skip
    rows = []
    for row in run.table.rows:
        cells, found = [*_counts(row), f"{row.seconds:.3f}"], row.speed
        if found is not None:
            low, high = found.interval
            cells += [
                f"{found.ratio:.2f}x", f"{low:.2f} to {high:.2f}", f"{found.geometric:.2f}x",
                f"{100 * found.slower:.1f}", f"{found.tokens:.2f}", f"{found.per_token:.2f}",
            ]  # fmt: skip
        else:
            cells += [""] * 6
        bound = f"{row.bound:.2f}x" if row.bound else ""
        rows.append([*cells, bound, "frontier" if row.frontier else ""])
    return _grid(run, head, rows)


def _in_flight(run: Loaded) -> Grid:
    many = run.table.in_flight
    head = ["tokens", "LLM %", "off by", "hand-offs", f"tokens/s, {many} at once", ""]
    rows = [
        [*_counts(row), f"{row.rate:.0f}" if row.rate else "", "frontier" if row.frontier else ""]
        for row in run.table.rows
    ]
    return _grid(run, head, rows)


def _counts(row: Row) -> list[str]:
    off = "" if row.share_off is None else f"{100 * row.share_off:+.1f}"
    return [f"{row.tokens:.1f}", f"{100 * row.llm_share:.1f}", off, f"{row.handoffs:.1f}"]


def by_group(run: Loaded) -> Grid | None:
    """Percent right per level or subject; None for a task without."""
    parts: Mapping[str, Table] = run.groups
    if len(parts) < 2:
        return None
    cells = {(group, row.method): row for group, one in parts.items() for row in one.rows}
    rows = [[_right(cells.get((group, row.method))) for group in parts] for row in run.table.rows]
    return _grid(run, list(parts), rows)


def _right(row: Row | None) -> str:
    return "" if row is None else f"{100 * row.right:.1f}"


def _grid(run: Loaded, head: Cells, rows: Sequence[Cells]) -> Grid:
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    lines = [
        Line(kind_of(run.config["methods"][row.method]), row.method, [cells[i] for i in kept])
        for row, cells in zip(run.table.rows, rows, strict=True)
    ]
    return Grid([head[i] for i in kept], lines)
