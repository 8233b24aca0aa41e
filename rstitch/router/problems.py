"""What a router is trained on: problems with a grader, none of which an evaluation will ask.

A router that has seen a problem of the test set has learnt its hand-offs by heart, so problems that
a split of the built-in pair holds out are refused, by their text, whatever file they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rstitch.errors import BadRequest
from rstitch.evals.task import Problem, Task
from rstitch.evals.tasks import make
from rstitch.evals.tasks.builtin import Train
from rstitch.evals.verify import Verifier
from rstitch.pairs.recipe.splits import SPLITS

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Graded:
    """A problem, and who says whether a reply is right."""

    problem: Problem
    task: Task
    verifier: Verifier = field(repr=False)

    @property
    def text(self) -> str:
        return self.problem.text

    def is_right(self, text: str, inside: bool) -> bool:
        return self.task.is_right(self.problem, text, self.verifier, inside)


def task_of(name: str, **params: object) -> Task:
    """As `rstitch eval` has it, and `train`: the problems that the built-in pair may learn from."""
    return Train(**params) if name == TRAIN else make(name, **params)  # type: ignore[arg-type]


def graded(task: Task, verifier: Verifier, chosen: Iterable[Problem]) -> list[Graded]:
    return [Graded(one, task, verifier) for one in chosen]


def check_apart(
    task: Task, train: Sequence[Problem], dev: Sequence[Problem], dev_name: str
) -> None:
    """Raise BadRequest where a training problem is one that is evaluated on."""
    held_out = {one.text: f"{dev_name}, which the router is chosen on" for one in dev}
    for split in SPLITS:
        # Numbers of `train` are in no other split, and drawing those takes seconds.
        if split != TRAIN and not isinstance(task, Train):
            for one in make(split).problems():
                held_out.setdefault(one.text, f"the evaluation split {split}")
    for one in train:
        if one.text in held_out:
            raise BadRequest(
                f"training problem {one.id!r} is in {held_out[one.text]}; take it out, or train "
                "on others"
            )
