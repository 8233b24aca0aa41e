"""The problems of the built-in pairs: held-out numbers, kinds, depths and wordings, and orders.

Answers are whole numbers, or one word, and graded to the letter. Another seed draws a set that
nobody has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rstitch.evals.grade import is_right
from rstitch.evals.task import Problem, Task
from rstitch.evals.verify import Verifier
from rstitch.pairs.recipe.order import splits as order
from rstitch.pairs.recipe.splits import SPLITS, Split, first_of, problem_id
from rstitch.policy.base import need_whole


@dataclass(frozen=True, slots=True)
class _Split(Task):
    needs_verifier: ClassVar[bool] = False
    splits: ClassVar[Mapping[str, Split[Any]]] = SPLITS

    seed: int = 0

    def __post_init__(self) -> None:
        need_whole("seed", self.seed, 0, 2**62)

    def problems(self) -> Sequence[Problem]:
        drawn = enumerate(first_of(self.splits, self.name, seed=self.seed))
        return [
            Problem(problem_id(self.name, i), one.question, str(one.answer), f"level {one.level}")
            for i, one in drawn
        ]

    def is_right(self, problem: Problem, text: str, verifier: Verifier, inside: bool) -> bool:
        return is_right(text, problem.answer)


class Train(_Split):
    """For routers to learn from; no name of `TASKS`, so that nobody evaluates on it by mistake."""

    name = "train"


class Dev(_Split):
    name = "dev"


class Test(_Split):
    name = "test"


class OodKind(_Split):
    name = "ood-kind"


class OodDepth(_Split):
    name = "ood-depth"


class OodWording(_Split):
    name = "ood-wording"


class _Order(_Split):
    splits = order.SPLITS


class OrderDev(_Order):
    name = "order-dev"


class OrderTest(_Order):
    name = "order-test"


class OrderOodDepth(_Order):
    name = "order-ood-depth"
