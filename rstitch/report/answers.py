"""The problems of a run once more, and whether its replies are right, where the task can be made.

A task that is a file of code is not: nothing that a run names is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rstitch.errors import RStitchError
from rstitch.evals import drawn
from rstitch.evals.task import Problem, Task
from rstitch.evals.tasks import TASKS
from rstitch.evals.tasks.jsonlines import JSONLines, is_jsonlines
from rstitch.evals.verify import Verifier


@dataclass(frozen=True)
class Answers:
    """Problems by id, with their grader."""

    task: Task
    problems: Mapping[str, Problem]
    verifier: Verifier

    @classmethod
    def of(cls, asked: Mapping[str, Any], verifier: Verifier) -> Answers | None:
        """None where the task cannot be made here, or has changed since."""
        found = task_of(asked)
        if found is None:
            return None
        task, problems = found
        return cls(task, {one.id: one for one in problems}, verifier)

    def wrong(self, one: Mapping[str, Any]) -> Iterator[str]:
        """What a record says of its problem that is not so."""
        problem = self.problems.get(one["problem"])
        if problem is None:
            yield "is no problem of the task"
            return
        if one["group"] != problem.group:
            yield f"group is {one['group']!r}, that of its problem is {problem.group!r}"
        # Runs of earlier versions do not say whether the prompt had opened the thought.
        ways = [one["inside"]] if "inside" in one else [False, True]
        if not any(self._is_right(problem, one, inside) == one["right"] for inside in ways):
            yield f"right is {str(one['right']).lower()}, its text says otherwise"

    def _is_right(self, problem: Problem, one: Mapping[str, Any], inside: bool) -> bool:
        return self.task.is_right(problem, one["text"], self.verifier, inside)


def task_of(asked: Mapping[str, Any]) -> tuple[Task, list[Problem]] | None:
    """The task and the problems that a run asked; None where it is a file's, cannot be had here,
    or is not what it was."""
    try:
        task = _made(dict(asked["task"]))
        problems = None if task is None else task.problems()
    except (RStitchError, ImportError, OSError, TypeError):
        return None
    if task is None or problems is None:
        return None
    found = drawn.again(problems, asked["problems"], asked["fingerprint"])
    return None if found is None else (task, found)


def _made(spec: dict[str, Any]) -> Task | None:
    """By names that are built in or installed, and files of problems; None for a file of code,
    under whichever of its values a run names one."""
    name = spec.pop("name")
    if name == JSONLines.name:
        return JSONLines(**spec) if is_jsonlines(str(spec.get("path"))) else None
    return TASKS.build(TASKS.find(name), name, spec) if name in TASKS.known() else None
