"""A run's table as plain aligned text: accuracy, then speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rstitch.evals.table import Row, Table

Columns = Sequence[Sequence[str]]


def lines(table: Table) -> list[str]:
    """Accuracy of every method, a blank line, and what it took."""
    against = f"against {table.baseline}" if table.baseline else "no llm to compare with"
    right = [["", "right %", "95 %", against, "from", "p", "", "cut off %"]]
    right += [_accuracy(row) for row in table.rows]
    speed = _one_by_one(table) if table.in_flight == 1 else _in_flight(table)
    return [*aligned(right), "", *aligned(speed)]


def by_group(tables: Mapping[str, Table]) -> list[str]:
    """Percent right per level or subject, a blank line before; nothing for a task without."""
    if len(tables) < 2:
        return []
    methods = dict.fromkeys(row.method for table in tables.values() for row in table.rows)
    cells = {(g, row.method): row for g, table in tables.items() for row in table.rows}
    rows = [["right %", *methods]]
    for group in tables:
        right = [cells.get((group, method)) for method in methods]
        rows.append([group, *(f"{100 * one.right:.1f}" if one else "" for one in right)])
    return ["", *aligned(rows)]


def aligned(rows: Columns) -> list[str]:
    """Columns as wide as their widest cell, the first to the left; those without values are out."""
    kept = [i for i in range(len(rows[0])) if i == 0 or any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    return [
        "  ".join(row[i].rjust(widths[i]) if i else row[i].ljust(widths[i]) for i in kept).rstrip()
        for row in rows
    ]


def _accuracy(row: Row) -> list[str]:
    low, high = row.interval
    cells = [row.method, f"{100 * row.right:.2f}", f"{100 * low:.1f} to {100 * high:.1f}"]
    found = row.comparison
    if found is None or row.p is None:
        return [*cells, "", "", "", "", f"{100 * row.truncated:.1f}"]
    verdict = found.verdict
    if verdict == "unclear" and found.needed:
        verdict = f"unclear, {found.needed} needed"  # type: ignore[assignment]  # shown only
    return [
        *cells, f"{found.points:+.2f}", f"{found.low:+.2f}", f"{row.p:.2g}", verdict,
        f"{100 * row.truncated:.1f}",
    ]  # fmt: skip


def _one_by_one(table: Table) -> Columns:
    head = ["", "tokens", "LLM %", "off by", "hand-offs", "s/answer", "speed-up", "95 %"]
    rows = [[*head, "geometric", "slower %", "= tokens", "x s/token", "checks free", ""]]
    for row in table.rows:
        cells = [*_counts(row), f"{row.seconds:.3f}"]
        speed = row.speed
        if speed is None:
            rows.append([*cells, "", "", "", "", "", "", _bound(row), _mark(row)])
            continue
        low, high = speed.interval
        rows.append([
            *cells, f"{speed.ratio:.2f}x", f"{low:.2f} to {high:.2f}", f"{speed.geometric:.2f}x",
            f"{100 * speed.slower:.1f}", f"{speed.tokens:.2f}", f"{speed.per_token:.2f}",
            _bound(row), _mark(row),
        ])  # fmt: skip
    return rows


def _in_flight(table: Table) -> Columns:
    head = ["", "tokens", "LLM %", "off by", "hand-offs", f"tokens/s, {table.in_flight} at once"]
    rows = [[*head, ""]]
    for row in table.rows:
        rows.append([*_counts(row), f"{row.rate:.0f}" if row.rate else "", _mark(row)])
    return rows


def _bound(row: Row) -> str:
    """Of early exit: against itself."""
    return f"{row.bound:.2f}x" if row.bound else ""


def _mark(row: Row) -> str:
    """Of a method that no other beats in one of accuracy and speed without losing in the other."""
    return "frontier" if row.frontier else ""


def _counts(row: Row) -> list[str]:
    off = "" if row.share_off is None else f"{100 * row.share_off:+.1f}"
    return [
        row.method, f"{row.tokens:.1f}", f"{100 * row.llm_share:.1f}", off, f"{row.handoffs:.1f}",
    ]  # fmt: skip
