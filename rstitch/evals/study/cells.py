"""The evaluation runs of a study. Each is a directory of its own, as `rstitch eval` makes one.

accuracy-BUDGET-TASK    all problems, several samples, many in flight
latency-BUDGET-TASK     a few problems, one answer at a time, methods taking turns
draft-BUDGET-TASK       the same problems, speculation with the other draft
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rstitch.evals.study.spec import Study

Kind = Literal["accuracy", "latency", "draft"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One evaluation run."""

    kind: Kind
    task: str
    budget: int
    methods: tuple[str, ...]
    reference: str
    problems: int | None
    """All if None."""
    samples: int
    in_flight: int

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.kind}-{self.budget}-{plain(self.task)}"


def cells(study: Study) -> list[Cell]:
    """In the order in which they are run: the pair's, latencies first, then the other draft's.

    What is fast to measure comes first, so that a study that is stopped early has priced something.
    """
    found = [
        cell
        for budget in study.budgets
        for task, timed in zip(study.tasks, shares(study), strict=True)
        for cell in (_latency(study, task, budget, timed), _accuracy(study, task, budget))
        if cell is not None
    ]
    drafts = [
        cell
        for budget in study.budgets
        for task, timed in zip(study.tasks, shares(study), strict=True)
        if (cell := _draft(study, task, budget, timed)) is not None
    ]
    return sorted(found, key=lambda cell: cell.kind == "accuracy") + drafts


def shares(study: Study) -> list[int]:
    """Timed problems of each task: as many of each, whatever its size, the first get one more."""
    each, more = divmod(study.timed, len(study.tasks))
    return [each + (index < more) for index in range(len(study.tasks))]


def _accuracy(study: Study, task: str, budget: int) -> Cell:
    methods = (*study.methods, *study.rules, *study.controls)
    return Cell(
        "accuracy", task, budget, methods, study.reference,
        study.problems, study.samples, study.in_flight,
    )  # fmt: skip


def _latency(study: Study, task: str, budget: int, timed: int) -> Cell | None:
    methods = (*study.methods, *study.rules, *study.rivals)
    return Cell("latency", task, budget, methods, study.reference, timed, 1, 1) if timed else None


def _draft(study: Study, task: str, budget: int, timed: int) -> Cell | None:
    if not (study.draft and study.rivals and timed):
        return None
    return Cell("draft", task, budget, study.rivals, study.rivals[0], timed, 1, 1)


def plain(task: str) -> str:
    """A task's name as part of a file's name: `dir/mine.jsonl,x=1` is `mine.jsonl-x-1`."""
    name, comma, rest = task.partition(",")
    return re.sub(r"[^\w.-]+", "-", name.rpartition("/")[2] + comma + rest).strip("-")
