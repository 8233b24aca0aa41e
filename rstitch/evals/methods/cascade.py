"""Whole answers instead of tokens: the SLM first, the LLM from the start where it was unsure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from rstitch.evals.methods.base import Ask, Method, Pilot, Question, Writing, again, as_written
from rstitch.evals.methods.ruled import Ruled
from rstitch.policy import make

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch


@dataclass(frozen=True, slots=True)
class Cascade(Method):
    """The SLM's answer stands where the mean entropy of its tokens is at most the bound."""

    name: ClassVar[str] = "cascade"

    bound: float | None = None
    """Normalised entropy; None takes that at which it would be as fast as the reference."""

    def fit(self, pilot: Pilot) -> Self:
        if self.bound is not None:
            return self
        slm, llm = Ruled(make("slm")), Ruled(make("llm"))
        spare = pilot.seconds(pilot.reference) - pilot.seconds(slm)
        share = min(1.0, max(0.0, spare / pilot.seconds(llm)))
        means = [mean_entropy(one.answers[0]) for one in pilot.written(slm) if one.answers]
        return replace(self, bound=float(np.quantile(means, 1 - share)))

    def write(self, stitch: Stitch, question: Question) -> Writing:
        ask = Ask(question.text, make("slm"), question.sampling, question.max_tokens)
        (first,) = yield ask
        if mean_entropy(first) <= (0.0 if self.bound is None else self.bound):
            return as_written(first, first, escalated=False)
        (second,) = yield replace(ask, policy=make("llm"), sampling=again(question.sampling))
        return as_written(second, first, second, escalated=True)


def mean_entropy(answer: Answer) -> float:
    """Of the tokens that were kept."""
    return fmean(p.entropy for p in answer.trace.proposals if p.keep)
