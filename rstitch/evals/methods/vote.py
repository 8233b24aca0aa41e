"""The SLM alone, several times, and what most of its answers say: what the time could buy it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from rstitch.evals.extract import answer_of
from rstitch.evals.methods.base import Ask, Method, Pilot, Question, Writing, as_written
from rstitch.evals.normal import normal
from rstitch.policy import make
from rstitch.policy.base import need_whole

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch

MOST = 64


@dataclass(frozen=True, slots=True)
class Vote(Method):
    """k samples at once; the first of those that agree with most."""

    name: ClassVar[str] = "vote"

    k: int = 0
    """Samples; 0 takes as many as the reference's latency pays for."""
    temperature: float = 0.6
    """Of the samples, where the run is greedy."""

    def __post_init__(self) -> None:
        need_whole("k", self.k, 0, MOST)

    def fit(self, pilot: Pilot) -> Self:
        if self.k:
            return self
        k, seconds = 1, pilot.seconds(pilot.reference)
        while k < MOST and pilot.seconds(replace(self, k=k + 1)) <= seconds:
            k += 1
        return replace(self, k=k)

    def write(self, stitch: Stitch, question: Question) -> Writing:
        sampling = question.sampling
        if sampling.temperature == 0:
            sampling = replace(sampling, temperature=self.temperature)
        answers = yield Ask(
            question.text, make("slm"), sampling, question.max_tokens, n=max(1, self.k)
        )
        return as_written(_elected(answers), *answers, k=len(answers))


def _elected(answers: list[Answer]) -> Answer:
    found = [answer_of(one.text, one.starts_thinking) for one in answers]
    votes = Counter(normal(text) for text in found if text)
    if not votes:
        return answers[0]
    most = votes.most_common(1)[0][0]
    return next(a for a, text in zip(answers, found, strict=True) if text and normal(text) == most)
