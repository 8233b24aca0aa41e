"""What orders are practised with: repeating one, placing a thing right after it was told where, and
finding what was told about a thing.

A model that cannot repeat a list yet learns nothing else from a trace, and from traces alone that
takes millions of tokens. From lists it takes a hundred thousand.
"""

from __future__ import annotations

import random

from rstitch.pairs.recipe.order.problem import KINDS
from rstitch.pairs.recipe.order.relations import RELATIONS
from rstitch.pairs.recipe.order.splits import SPLITS
from rstitch.pairs.recipe.order.traces import BETWEEN, listed, steps
from rstitch.pairs.recipe.splits import draw_any
from rstitch.pairs.recipe.traces import Span

REPEATS = 2


def drill(rng: random.Random) -> list[Span]:
    """A list again and again, statements that each make an order longer, or statements looked up
    again. Only what follows from the text before is learnt."""
    return rng.choice((_repeated, _grown, _looked_up, _looked_up))(rng, rng.choice(BETWEEN))


def _repeated(rng: random.Random, between: str) -> list[Span]:
    things = rng.choice(RELATIONS).things
    line = f" {listed(rng.sample(things, rng.randint(3, len(things))), between)}.\n"
    return [Span(line, learn=False), *[Span(line)] * REPEATS]


def _grown(rng: random.Random, between: str) -> list[Span]:
    spans = []
    for one in steps(draw_any(SPLITS["order-train"], rng)):
        spans += [Span(f"Next, {one.statement.text}:", learn=False)]
        spans += [Span(f" {listed(one.order, between)}.\n")]
    return spans


def _looked_up(rng: random.Random, between: str) -> list[Span]:
    problem = draw_any(SPLITS["order-train"], rng)
    spans = [Span(problem.question, learn=False)]
    verb = f" {KINDS[problem.kind].verb} "
    for statement in rng.sample(problem.statements, len(problem.statements)):
        thing, told = statement.text.split(verb)
        spans += [Span(f"\nNext, {thing}", learn=False), Span(f"{verb}{told}.")]
    return spans
