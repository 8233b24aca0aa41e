"""One answer under one policy: either model alone, stitched, or anybody's own rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rstitch.evals.methods.base import Method, Pilot, Question, Writing, plainly
from rstitch.policy import Policy, make

if TYPE_CHECKING:
    from rstitch.api import Stitch


@dataclass(frozen=True, slots=True)
class Ruled(Method):
    """A policy as a method, under the policy's own name."""

    name: ClassVar[str] = "policy"

    policy: Policy

    def write(self, stitch: Stitch, question: Question) -> Writing:
        return plainly(question, self.policy)

    def spec(self) -> dict[str, Any]:
        return self.policy.spec()


@dataclass(frozen=True, slots=True)
class Stitched(Method):
    """R-Stitch's rule at the pair's own tau."""

    name: ClassVar[str] = "stitched"

    tau: float | None = None
    """The pair's own where it is not given."""

    def fit(self, pilot: Pilot) -> Self:
        return self if self.tau is not None else replace(self, tau=pilot.stitch.tau)

    def write(self, stitch: Stitch, question: Question) -> Writing:
        tau = stitch.tau if self.tau is None else self.tau
        return plainly(question, make("entropy", tau=tau))


@dataclass(frozen=True, slots=True)
class Brief(Method):
    """The LLM alone, told to be brief: how much of the gain is a short answer?"""

    name: ClassVar[str] = "brief"

    words: str = "Be brief: think in as few steps as you can."

    def write(self, stitch: Stitch, question: Question) -> Writing:
        return plainly(question, make("llm"), f"{question.text}\n\n{self.words}")
