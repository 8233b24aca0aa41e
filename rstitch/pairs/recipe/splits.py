"""Which problems are for training and which are held out.

The split is a hash of what a problem tells (of arithmetic: kind and numbers), so a held-out one
never occurs in training in another wording, and anyone can draw a fresh test set that the models
have not seen.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from rstitch.pairs.recipe.kinds import OOD_KINDS, TRAINED, draw_problem
from rstitch.pairs.recipe.problem import Posed, Problem

T = TypeVar("T")
P = TypeVar("P", bound=Posed)
P_co = TypeVar("P_co", bound=Posed, covariant=True)

TRAIN_LEVELS = (1, 2, 3, 4, 5, 6)
DEEP_LEVELS = (7, 8)
MAX_TRIES = 5000
"""Draws per problem before its (kind, level) counts as used up."""


class Drawn(Protocol[P_co]):
    """Draws one problem of a kind at a level."""

    def __call__(
        self, kind: str, level: int, rng: random.Random, *, held_out_wording: bool = False
    ) -> P_co: ...


@dataclass(frozen=True)
class Split(Generic[P]):
    """Where a split's problems come from and how many there are by default."""

    draw: Drawn[P]
    kinds: Sequence[str]
    levels: tuple[int, ...]
    size: int
    part: str | None = None
    """The hash condition: "train", "dev", "test", or None for any numbers."""
    held_out_wording: bool = False


SPLITS: dict[str, Split[Problem]] = {
    "train": Split(draw_problem, tuple(TRAINED), TRAIN_LEVELS, 4000, "train"),
    "dev": Split(draw_problem, tuple(TRAINED), TRAIN_LEVELS, 2000, "dev"),
    "test": Split(draw_problem, tuple(TRAINED), TRAIN_LEVELS, 4000, "test"),
    "ood-kind": Split(draw_problem, tuple(sorted(OOD_KINDS)), TRAIN_LEVELS, 1000),
    "ood-depth": Split(draw_problem, tuple(TRAINED), DEEP_LEVELS, 1000),
    "ood-wording": Split(
        draw_problem, tuple(TRAINED), TRAIN_LEVELS, 1000, "test", held_out_wording=True
    ),
}


def part_of(kind: str, told: Sequence[int | str]) -> str:
    """ "train" (90 %), "dev" (5 %) or "test" (5 %), by hash."""
    key = f"{kind}:{','.join(map(str, told))}"
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 20
    return {0: "test", 1: "dev"}.get(bucket, "train")


def problem_id(split: str, index: int) -> str:
    """The name of a split's problem number ``index``: "test-00017"."""
    return f"{split}-{index:05d}"


def draw_in(source: Split[P], kind: str, level: int, rng: random.Random) -> P | None:
    """One problem that meets the hash condition, or None when MAX_TRIES draws found none."""
    for _ in range(MAX_TRIES):
        problem = source.draw(kind, level, rng, held_out_wording=source.held_out_wording)
        if source.part is None or part_of(problem.kind, problem.told) == source.part:
            return problem
    return None


def draw_any(source: Split[P], rng: random.Random) -> P:
    """A problem of any of its kinds and levels."""
    problem = None
    while problem is None:
        problem = draw_in(source, rng.choice(source.kinds), rng.choice(source.levels), rng)
    return problem


def problems(split: str, n: int | None = None, seed: int = 0) -> list[Problem]:
    """The first ``n`` problems of a split of arithmetic; see `first_of`."""
    return first_of(SPLITS, split, n, seed)


def first_of(
    splits: Mapping[str, Split[P]], split: str, n: int | None = None, seed: int = 0
) -> list[P]:
    """The first ``n`` problems of one of the splits, no two that tell the same.

    Another ``seed`` draws a fresh set under the same conditions ("test" stays unseen in training).
    """
    if split not in splits:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(splits)}")
    source = splits[split]
    wanted = source.size if n is None else n
    rng = random.Random(f"{split}/{seed}")
    cells = [(kind, level) for level in source.levels for kind in source.kinds]
    seen: set[tuple[str, tuple[int | str, ...]]] = set()
    found: list[P] = []
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
    source: Split[P],
    seen: set[tuple[str, tuple[int | str, ...]]],
) -> P | None:
    """A problem of this cell that is not in ``seen`` (and now is), or None when there is none."""
    for _ in range(50):
        problem = draw_in(source, kind, level, rng)
        if problem is None:
            return None
        key = (problem.kind, problem.told)
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
