"""What a section says in one sentence: how much faster, at what difference in accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rstitch.evals.methods import CONTROLS
from rstitch.evals.statistics import Comparison, SpeedUp
from rstitch.evals.table import Row, Table

PERCENT = 100


@dataclass(frozen=True, slots=True)
class Claim:
    """One method against the baseline, on the problems of both."""

    method: str
    against: str
    comparison: Comparison
    speed: SpeedUp | None
    """None where answers were many in flight: rates have no interval."""
    rate: float | None = None
    """Answers per second over the baseline's, many in flight."""

    def sentence(self) -> str:
        """The line a reader remembers, so with both intervals, or with what is missing."""
        found = self.comparison
        points = f"{found.points:+.1f} points ({found.low:+.1f} to {found.high:+.1f})"
        if self.speed is not None:
            low, high = self.speed.interval
            fast = f"{self.speed.ratio:.2f} times faster ({low:.2f} to {high:.2f})"
            if self.speed.ratio < 1:
                fast = f"{1 / self.speed.ratio:.2f} times slower ({1 / high:.2f} to {1 / low:.2f})"
            return f"{self.method} is {fast} than {self.against} at {points} of accuracy."
        if self.rate is not None:
            return (
                f"{self.method} gives {self.rate:.2f} times as many answers per second as "
                f"{self.against} at {points} of accuracy."
            )
        return f"{self.method} is at {points} of the accuracy of {self.against}."


def claims(config: Mapping[str, Any], table: Table) -> list[Claim]:
    """The reference's, or where the baseline itself is the reference (a sweep), everyone's but the
    SLM's."""
    rows = {row.method: row for row in table.rows}
    base = rows.get(table.baseline or "")
    chosen = config["asked"]["reference"]
    alone = {label for label, spec in config["methods"].items() if spec["name"] in ("llm", "slm")}
    controls = {label for label, spec in config["methods"].items() if spec["name"] in CONTROLS}
    if base is None:
        return []
    labels = [chosen] if chosen in rows and chosen not in alone else list(rows)
    found = [rows[label] for label in labels if label not in alone | controls]
    return [claim for row in found if (claim := _claim(row, base, table)) is not None]


def _claim(row: Row, base: Row, table: Table) -> Claim | None:
    if row.comparison is None:
        return None
    ours, theirs = answers_per_second(row), answers_per_second(base)
    rate = ours / theirs if table.in_flight > 1 and ours and theirs else None
    return Claim(row.method, base.method, row.comparison, row.speed, rate)


def answers_per_second(row: Row) -> float | None:
    """Many in flight, from the rate of tokens and the tokens of an answer that did not fail."""
    written = row.answers - row.failed
    if not row.rate or not written or not row.tokens:
        return None
    return row.rate * written / (row.tokens * row.answers)
