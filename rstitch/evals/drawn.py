"""Which problems of a task are asked, where not all are: all ways of drawing them in one place.

A report draws them once more to grade a run again, so a way that is not here cannot be verified.
"""

from __future__ import annotations

from collections.abc import Sequence

from rstitch.evals.task import Problem, fingerprint
from rstitch.pairs.recipe.splits import spread


def evenly(problems: Sequence[Problem], n: int | None) -> list[Problem]:
    """n of them, or all: evenly spaced over the task, as `rstitch eval` does."""
    return spread(problems, len(problems) if n is None else n)


def by_group(problems: Sequence[Problem], n: int | None) -> list[Problem]:
    """n of them, or all: group by group, evenly spaced, so that each group has its share. The same
    n of the same task are the same problems, in every cell of a study."""
    if n is None or n >= len(problems):
        return list(problems)
    return spread(sorted(problems, key=lambda one: one.group), n)  # a stable sort


WAYS = (evenly, by_group)


def again(problems: Sequence[Problem], n: int, due: str) -> list[Problem] | None:
    """The n that have this fingerprint, by whichever way they were drawn; None where none has."""
    drawn = (way(problems, n) for way in WAYS)
    return next((found for found in drawn if fingerprint(found) == due), None)
