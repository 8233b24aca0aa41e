"""Which problems are for training and which are held out.

The split is a hash of (kind, numbers), so a held-out problem never occurs in training in another
wording, and anyone can draw a fresh test set that the models have not seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from rstitch.pairs.recipe.kinds import OOD_KINDS, TRAINED, draw_problem
from rstitch.pairs.recipe.problem import Problem

T = TypeVar("T")

TRAIN_LEVELS = (1, 2, 3, 4, 5, 6)
DEEP_LEVELS = (7, 8)
MAX_TRIES = 5000
"""Draws per problem before its (kind, level) counts as used up."""


@dataclass(frozen=True)
class Split:
    """Where a split's problems come from and how many there are by default."""

    kinds: Sequence[str]
    levels: tuple[int, ...]
    size: int
    part: str | None = None
    """The hash condition: "train", "dev", "test", or None for any numbers."""
    held_out_wording: bool = False


SPLITS: dict[str, Split] = {
    "train": Split(tuple(TRAINED), TRAIN_LEVELS, 4000, "train"),
    "dev": Split(tuple(TRAINED), TRAIN_LEVELS, 2000, "dev"),
    "test": Split(tuple(TRAINED), TRAIN_LEVELS, 4000, "test"),
    "ood-kind": Split(tuple(sorted(OOD_KINDS)), TRAIN_LEVELS, 1000),
    "ood-depth": Split(tuple(TRAINED), DEEP_LEVELS, 1000),
    "ood-wording": Split(tuple(TRAINED), TRAIN_LEVELS, 1000, "test", held_out_wording=True),
}


def part_of(kind: str, numbers: Sequence[int]) -> str:
    """ "train" (90 %), "dev" (5 %) or "test" (5 %), by hash."""
    key = f"{kind}:{','.join(map(str, numbers))}"
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 20
    return {0: "test", 1: "dev"}.get(bucket, "train")


def problem_id(split: str, index: int) -> str:
    """The name of a split's problem number ``index``: "test-00017"."""
    return f"{split}-{index:05d}"


def draw_in(
    kind: str, level: int, rng: random.Random, part: str | None, held_out_wording: bool = False
) -> Problem | None:
    """One problem that meets the hash condition, or None when MAX_TRIES draws found none."""
    for _ in range(MAX_TRIES):
        problem = draw_problem(kind, level, rng, held_out_wording=held_out_wording)
        if part is None or part_of(problem.kind, problem.numbers) == part:
            return problem
    return None


def problems(split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
    """The first ``n`` problems of a split, no two with the same kind and numbers.

    Another ``seed`` draws a fresh set under the same conditions ("test" stays unseen in training).
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    source = SPLITS[split]
    wanted = source.size if n is None else n
    rng = random.Random(f"{split}/{seed}")
    cells = [(kind, level) for level in source.levels for kind in source.kinds]
    seen: set[tuple[str, tuple[int, ...]]] = set()
    found: list[Problem] = []
    while len(found) < wanted and cells:
        for kind, level in list(cells):
            problem = _unseen(kind, level, rng, source, seen)
            if problem is None:
                cells.remove((kind, level))
                continue
            found.append(problem)
            if len(found) == wanted:
                break
    if len(found) < wanted:
        raise ValueError(f"split {split!r} has only {len(found)} problems, {wanted} asked for")
    return found


def _unseen(
    kind: str,
    level: int,
    rng: random.Random,
    source: Split,
    seen: set[tuple[str, tuple[int, ...]]],
) -> Problem | None:
    """A problem of this cell that is not in ``seen`` (and now is), or None when there is none."""
    for _ in range(50):
        problem = draw_in(kind, level, rng, source.part, source.held_out_wording)
        if problem is None:
            return None
        key = (problem.kind, problem.numbers)
        if key not in seen:
            seen.add(key)
            return problem
    return None


def spread(chosen: Sequence[T], n: int) -> list[T]:
    """``n`` of them in their order, or all: one at random out of each n-th part, always the same.

    Every n-th would not do. A split runs through its 30 kinds again and again, so 100 of 2,000
    would be of three kinds (and the SLM 88 % right there instead of 65 %).
    """
    n = min(n, len(chosen))
    rng = random.Random(f"{len(chosen)}/{n}")
    edges = [i * len(chosen) // n for i in range(n)] + [len(chosen)]
    return [chosen[rng.randrange(first, end)] for first, end in pairwise(edges)]
