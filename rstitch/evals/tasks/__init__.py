"""Tasks that have a name, and files of problems: `rstitch.registry` says how one is found."""

from __future__ import annotations

from typing import Any

from rstitch.evals.task import Task
from rstitch.evals.tasks.jsonlines import JSONLines, is_jsonlines
from rstitch.registry import Registry

_BUILTIN = "rstitch.evals.tasks.builtin"
_HUB = "rstitch.evals.tasks.hub_sets"

TASKS: Registry[Task] = Registry(
    kind="task",
    base=Task,  # type: ignore[type-abstract]  # only its subclasses are made
    needs="problems",
    group="rstitch.tasks",
    built_in={
        "dev": f"{_BUILTIN}:Dev",
        "test": f"{_BUILTIN}:Test",
        "ood-kind": f"{_BUILTIN}:OodKind",
        "ood-depth": f"{_BUILTIN}:OodDepth",
        "ood-wording": f"{_BUILTIN}:OodWording",
        "order-dev": f"{_BUILTIN}:OrderDev",
        "order-test": f"{_BUILTIN}:OrderTest",
        "order-ood-depth": f"{_BUILTIN}:OrderOodDepth",
        "aime24": f"{_HUB}:AIME24",
        "aime25": f"{_HUB}:AIME25",
        "amc23": f"{_HUB}:AMC23",
        "amc83": f"{_HUB}:AMC83",
        "arc": f"{_HUB}:ARC",
        "gsm8k": f"{_HUB}:GSM8K",
        "math500": f"{_HUB}:MATH500",
        "minerva": f"{_HUB}:Minerva",
        "olympiadbench": f"{_HUB}:OlympiadBench",
    },
    given_with="as the task",
)


def make(name: str, **params: Any) -> Task:
    """The task of that name, of a path.jsonl, or of a path.py:Class, whose code is run."""
    if is_jsonlines(name):
        return TASKS.build(JSONLines, name, {"path": name, **params})
    return TASKS.build(TASKS.find_or_run(name), name, params)


__all__ = ["TASKS", "make"]
