"""A problem of the task: an order of things, told by statements that each place one more of them.

A statement is a chain of two or three things, most first, that were neighbours when the last of
them came in. So every two neighbours of the whole order are compared by some statement, and there
is one order that agrees with all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.pairs.recipe.order.relations import PLACES, RELATIONS, Relation

SIZES = {1: (3, False), 2: (3, True), 3: (4, False), 4: (4, True), 5: (5, False), 6: (5, True)}
DEEPER = {7: (6, True), 8: (7, True)}
"""Level to how many things there are, and whether the statements come in another order than the
one in which each has all but one of its things placed."""

Chain = tuple[str, ...]
KINDS: dict[str, Relation] = {relation.name: relation for relation in RELATIONS}


@dataclass(frozen=True)
class Statement:
    chain: Chain
    """Two or three things, most first."""
    text: str
    """The comparison in words, without capital letter and full stop."""

    def new(self, order: Sequence[str]) -> list[str]:
        """Its things that have no place yet."""
        return [thing for thing in self.chain if thing not in order]


@dataclass(frozen=True)
class Problem:
    """A question in plain English; its answer is one of the things."""

    kind: str
    level: int
    question: str
    statements: tuple[Statement, ...]
    """In the order of the question."""
    order: Chain
    """All things, most first."""
    place: int
    """What is asked for, as an index of `order`."""

    @property
    def answer(self) -> str:
        return self.order[self.place]

    @property
    def told(self) -> tuple[str, ...]:
        """The statements, however they are worded, and whatever is asked."""
        return tuple(">".join(statement.chain) for statement in self.statements)


def placed(order: Chain, statement: Statement) -> Chain:
    """The order with the one new thing of the statement in its place, or the statement's two where
    nothing has a place yet. Raises ValueError where another number of them is new."""
    new, chain = statement.new(order), statement.chain
    if len(new) != _wanted(order):
        raise ValueError(f"{statement.text!r} has {len(new)} things without a place")
    if not order:
        return chain
    at = chain.index(new[0])
    where = order.index(chain[at - 1]) + 1 if at else order.index(chain[1])
    return (*order[:where], new[0], *order[where:])


def ready(problem: Problem, order: Chain) -> list[Statement]:
    """The statements that can place a thing now, in the order of the question."""
    return [s for s in problem.statements if len(s.new(order)) == _wanted(order)]


def _wanted(order: Chain) -> int:
    return 1 if order else 2


def draw_problem(
    kind: str, level: int, rng: random.Random, *, held_out_wording: bool = False
) -> Problem:
    """One problem of the relation `kind`. No wording is held out."""
    relation = KINDS[kind]
    size, shuffled = {**SIZES, **DEEPER}[level]
    order = tuple(rng.sample(relation.things, size))
    statements = [_told(relation, chain, rng) for chain in _chains(order, rng)]
    if shuffled:
        rng.shuffle(statements)
    which = rng.randrange(len(PLACES))
    sentences = [f"{s.text[0].upper()}{s.text[1:]}." for s in statements]
    question = " ".join([relation.opening, *sentences, relation.questions[which]])
    return Problem(kind, level, question, tuple(statements), order, PLACES[which])


def _chains(order: Chain, rng: random.Random) -> list[Chain]:
    """Two things come first, then one at a time between its neighbours so far."""
    coming = rng.sample(order, len(order))
    chains: list[Chain] = []
    for count in range(2, len(coming) + 1):
        here = [thing for thing in order if thing in coming[:count]]
        at = here.index(coming[count - 1])
        chains.append(tuple(here[max(at - 1, 0) : at + 2]))
    return chains


def _told(relation: Relation, chain: Chain, rng: random.Random) -> Statement:
    """The chain as a sentence about the thing in its middle, or about either of two."""
    things = [relation.article + thing for thing in chain]
    more, less = relation.more, relation.less
    if len(things) == 2:
        first, last = things
        told = [f"{first} {{}} {more} {last}", f"{last} {{}} {less} {first}"]
    else:
        first, middle, last = things
        parts = (f"{more} {last}", f"{less} {first}")
        told = [f"{middle} {{}} {a} but {b}" for a, b in (parts, parts[::-1])]
    return Statement(chain, rng.choice(told).format(relation.verb))
