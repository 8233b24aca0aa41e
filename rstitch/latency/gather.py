"""Answers to plan with, where none are on record: held-out problems of the built-in pair at several
taus, many in flight, since which passes an answer takes does not depend on that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rstitch.evals.grade import is_right
from rstitch.latency.measure import Tell, quiet
from rstitch.latency.recorded import Recorded, label
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make

if TYPE_CHECKING:
    from rstitch.api import Stitch

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Taus that are tried, times the pair's own."""


def gather(
    stitch: Stitch, taus: Sequence[float], n: int, max_tokens: int, tell: Tell = quiet
) -> list[Recorded]:
    """n answers of each model alone and of each tau; all are graded."""
    chosen, found = spread(problems("dev"), n), list[Recorded]()
    rules: list[Policy] = [make("llm"), make("slm"), *(make("entropy", tau=tau) for tau in taus)]
    for at, rule in enumerate(rules):
        tell("writing answers", at * n, len(rules) * n)
        questions = [problem.question for problem in chosen]
        answers = stitch.batch(questions, policy=rule, max_tokens=max_tokens)
        for problem, answer in zip(chosen, answers, strict=True):
            right = is_right(answer.text, problem.answer)
            found.append(Recorded(label(answer.trace), answer.trace, right))
    tell("writing answers", len(rules) * n, len(rules) * n)
    return found


def taus_around(tau: float) -> list[float]:
    return [round(factor * tau, 6) for factor in FACTORS]
