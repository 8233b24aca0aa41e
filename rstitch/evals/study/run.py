"""From a study to its evaluation runs: what is needed is made first, then cell after cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rstitch.errors import BadRequest
from rstitch.evals import drawn, evaluate, tasks, verify
from rstitch.evals.evaluate import Plan, Tell
from rstitch.evals.methods import make, parse
from rstitch.evals.study import kept
from rstitch.evals.study.cells import Cell, cells, plain
from rstitch.evals.study.spec import Study
from rstitch.evals.task import Problem, Task
from rstitch.evals.verify import Verifier

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.evals.methods import Method


@dataclass(frozen=True, slots=True)
class Questions:
    """A task with all of its problems."""

    task: Task
    problems: Sequence[Problem]


def questions(study: Study) -> dict[str, Questions]:
    """By the label in the study. Raises BadRequest for an unknown task, or one that cannot be had,
    and for an unknown method, before anything is loaded."""
    for cell in cells(study):
        _methods(cell)
    found: dict[str, Questions] = {}
    for label in study.tasks:
        if plain(label) in map(plain, found):
            raise BadRequest(f"tasks has two of the name {plain(label)}; rename one of the files")
        name, params = parse(label)
        task = tasks.make(name, **params)
        if task.needs_verifier:
            verify.check()
        found[label] = Questions(task, task.problems())
    return found


def sizes(asked: Mapping[str, Questions]) -> dict[str, int]:
    return {label: len(one.problems) for label, one in asked.items()}


def is_whole(place: kept.Kept, cell: Cell, finished: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether every answer of a cell is there."""
    size = place.sizes[cell.task]
    wanted = min(cell.problems or size, size) * cell.samples
    return all(finished.get(cell.name, {}).get(m, 0) >= wanted for m in cell.methods)


def run(
    place: kept.Kept,
    todo: Sequence[Cell],
    asked: Mapping[str, Questions],
    stitch: Stitch,
    about: Mapping[str, Any],
    verifier: Verifier,
    tell: Tell,
) -> None:
    """These cells on this pair, each begun or gone on with. about: as of an evaluation."""
    for at, cell in enumerate(todo, 1):
        plan = _plan(place.study, cell, asked[cell.task], stitch)
        told = _told(f"[{at}/{len(todo)}] {cell.name}", cell.methods, tell)
        evaluate.run(stitch, plan, place.cell(cell.name), about, verifier, told)


def _plan(study: Study, cell: Cell, asked: Questions, stitch: Stitch) -> Plan:
    return Plan(
        task=asked.task,
        problems=tuple(drawn.by_group(asked.problems, cell.problems)),
        methods=_methods(cell),
        reference=cell.reference,
        sampling=replace(stitch.defaults.sampling, **study.sampling),
        max_tokens=cell.budget,
        samples=cell.samples,
        in_flight=cell.in_flight,
        seed=study.seed,
    )


def _methods(cell: Cell) -> dict[str, Method]:
    found = {}
    for label in cell.methods:
        name, params = parse(label)
        if label in found:
            raise BadRequest(f"{label} is there twice among methods, taus, rivals and controls")
        found[label] = make(name, **params)
    return found


def _told(name: str, methods: Sequence[str], tell: Tell) -> Callable[[str, int, int], None]:
    """How much of a whole cell is done, whichever method is at it."""

    def told(what: str, done: int, total: int) -> None:
        if what in methods:  # many in flight, one method after the other
            tell(name, list(methods).index(what) * total + done, total * len(methods))
        else:
            tell(f"{name}, settling methods" if what.startswith("settling") else name, done, total)

    return told
