"""A task of three questions and plans on the tiny random pair, for tests of what is around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rstitch.evals import evaluate
from rstitch.evals.directory import Run
from rstitch.evals.evaluate import Plan
from rstitch.evals.methods import make
from rstitch.evals.methods.base import Question
from rstitch.evals.task import Problem, Task
from rstitch.evals.verify import Verifier
from rstitch.types import Sampling
from tests.pair import TAU, stitch

QUESTIONS = ("How many apples are left?", "Mia has three boxes.", "Let me check that.")
STITCHED = f"stitched,tau={TAU}"


@dataclass(frozen=True, slots=True)
class Apples(Task):
    """Right is what contains the answer, so that random models are right now and then."""

    name: ClassVar[str] = "apples"
    needs_verifier: ClassVar[bool] = False

    n: int = 3

    def problems(self) -> Sequence[Problem]:
        return [Problem(f"a-{i}", QUESTIONS[i % 3], "e", f"level {i % 2}") for i in range(self.n)]

    def is_right(self, problem: Problem, text: str, verifier: Verifier, inside: bool) -> bool:
        return problem.answer in text


def plan(*methods: str, n: int = 3, **changes: Any) -> Plan:
    from rstitch.evals.methods import parse

    named = {}
    for label in methods or ("llm", "slm", STITCHED):
        name, params = parse(label)
        named[label] = make(name, **params)
    task = Apples(n)
    reference = next((label for label in named if label.startswith("stitched")), next(iter(named)))
    given = {"max_tokens": 12, "sampling": Sampling(), **changes}
    return Plan(task, tuple(task.problems()), named, reference, **given)


def question(index: int = 0, **changes: Any) -> Question:
    given = {"sampling": Sampling(seed=5), "max_tokens": 24, **changes}
    return Question(index, QUESTIONS[index % 3], **given)


def run(chosen: Plan, out: Path, tell: Any = lambda *told: None, **about: Any) -> Run:
    with Verifier() as verifier:
        return evaluate.run(stitch(), chosen, out, about, verifier, tell)
