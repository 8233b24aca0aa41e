"""The seam between what is asked and everything else: a task is problems and a grader.

A new one is a file of `{id, problem, answer}` lines, or one small class: `docs/evaluation.md`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rstitch.evals import grade
from rstitch.evals.verify import Verifier

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its gold answer."""

    id: str
    text: str
    """What a model is asked, instruction included."""
    answer: str
    group: str = ""
    """A level or subject, for tables per group."""


class Task(ABC):
    """Problems and a grader. Subclasses are frozen dataclasses of plain values."""

    name: ClassVar[str]
    needs_verifier: ClassVar[bool] = True
    """Whether `is_right` may ask it, so that math-verify has to be installed."""

    @abstractmethod
    def problems(self) -> Sequence[Problem]:
        """All of them, in an order that never changes."""

    def is_right(self, problem: Problem, text: str, verifier: Verifier, inside: bool) -> bool:
        """Whether a reply is right. inside: the prompt had opened the thinking block.

        A malformed reply is wrong, never an error.
        """
        return grade.is_equal(grade.final_answer(text, inside), problem.answer, verifier)

    def spec(self) -> dict[str, Any]:
        """Name and parameters, enough to make it again."""
        assert dataclasses.is_dataclass(self)
        return {"name": self.name, **dataclasses.asdict(self)}


def fingerprint(problems: Sequence[Problem]) -> str:
    """Of what is asked and which answers count, for a run that must not change them midway."""
    rows = [(one.id, one.text, one.answer) for one in problems]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def unparsable(problems: Sequence[Problem], verifier: Verifier) -> list[Problem]:
    """Those whose gold answer math-verify cannot read: replies are compared with it as text."""
    return [one for one in problems if not verifier.parses(one.answer)]
