"""Which orders are for training and which are held out, by hash of their statements."""

from __future__ import annotations

from rstitch.pairs.recipe.order.problem import DEEPER, KINDS, SIZES, Problem, draw_problem
from rstitch.pairs.recipe.splits import Split, first_of

_KINDS, _LEVELS = tuple(KINDS), tuple(SIZES)

SPLITS: dict[str, Split[Problem]] = {
    "order-train": Split(draw_problem, _KINDS, _LEVELS, 4000, "train"),
    "order-dev": Split(draw_problem, _KINDS, _LEVELS, 2000, "dev"),
    "order-test": Split(draw_problem, _KINDS, _LEVELS, 4000, "test"),
    "order-ood-depth": Split(draw_problem, _KINDS, tuple(DEEPER), 1000),
}


def problems(split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
    """The first ``n`` problems of a split; see `first_of`."""
    return first_of(SPLITS, split, n, seed)
