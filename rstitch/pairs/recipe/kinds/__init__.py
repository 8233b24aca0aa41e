"""The kinds of word problem, gathered: which are trained on, which never, and how to draw one."""

from __future__ import annotations

import random

from rstitch.pairs.recipe.kinds.shaped_held_out import HELD_OUT
from rstitch.pairs.recipe.kinds.shaped_measure import MEASURE
from rstitch.pairs.recipe.kinds.shaped_money import MONEY
from rstitch.pairs.recipe.kinds.shaped_people import PEOPLE
from rstitch.pairs.recipe.kinds.stories_held_out import HELD_OUT_STORIES
from rstitch.pairs.recipe.kinds.stories_home import HOME_STORIES
from rstitch.pairs.recipe.kinds.stories_nature import NATURE_STORIES
from rstitch.pairs.recipe.kinds.stories_play import PLAY_STORIES
from rstitch.pairs.recipe.kinds.stories_work import WORK_STORIES
from rstitch.pairs.recipe.problem import Draw, Kind, Problem

MAX_TRIES = 5000

_TRAINED: dict[str, Kind] = {
    **{s.name: s for s in (*HOME_STORIES, *WORK_STORIES, *NATURE_STORIES, *PLAY_STORIES)},
    **{kind.__name__: kind for kind in (*MONEY, *PEOPLE, *MEASURE)},
}
_NEVER_TRAINED: dict[str, Kind] = {
    **{s.name: s for s in HELD_OUT_STORIES},
    **{kind.__name__: kind for kind in HELD_OUT},
}

KINDS: dict[str, Kind] = {**_TRAINED, **_NEVER_TRAINED}
TRAINED: tuple[str, ...] = tuple(_TRAINED)
OOD_KINDS: frozenset[str] = frozenset(_NEVER_TRAINED)


def draw_problem(
    kind: str, level: int, rng: random.Random, *, held_out_wording: bool = False
) -> Problem:
    """One problem of the kind at the level; ValueError where none of many tries works out."""
    draw = Draw(rng, level, held_out_wording)
    for _ in range(MAX_TRIES):
        try:
            return KINDS[kind](draw)
        except ValueError:
            continue
    raise ValueError(f"no {kind} problem at level {level} in {MAX_TRIES} tries")
