"""How an order is worked out: briefly (the SLM's style) or at length with checks (the LLM's).

The brief style says what comes next and where, and writes the order with it; at the end it counts
to the place that is asked for. It varies where nothing depends on it (how a line begins, how things
are set apart, which statement of several is taken next). The long style repeats the statement,
writes the order, checks the new neighbours, and writes the whole order once more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.pairs.recipe.order.problem import Chain, Problem, Statement, placed, ready
from rstitch.pairs.recipe.traces import BOUNDARY, Span, conclusion, cuts

BEGINNINGS = ("So", "Then", "Next")
BETWEEN = (",", " then")
ORDINALS = ("first", "second", "third")
FIRST_READY = 0.6
"""How often a brief trace takes the first statement that it can, rather than any."""
UNSURE = 0.5
"""Share of the brief traces that the LLM goes on with at what comes next, where, or at a place
of the order: where an SLM is least sure."""


@dataclass(frozen=True)
class Step:
    statement: Statement
    thing: str
    """What it places (the first of its two, at the start)."""
    order: Chain
    """All that has a place then."""


def steps(problem: Problem, order: Chain = (), rng: random.Random | None = None) -> list[Step]:
    """From an order so far to the whole one: always the first statement that is ready, or with
    `rng` sometimes another."""
    found: list[Step] = []
    while len(order) < len(problem.order):
        able = ready(problem, order)
        varied = rng is not None and rng.random() >= FIRST_READY
        statement = rng.choice(able) if rng is not None and varied else able[0]
        thing, order = statement.new(order)[0], placed(order, statement)
        found.append(Step(statement, thing, order))
    return found


def listed(things: Sequence[str], between: str) -> str:
    return f"{between} ".join(things)


def line(beginning: str, step: Step, between: str) -> str:
    """``So Cleo, Ana before: Ana, Cleo, Ben.`` Its neighbour is looked up before the side of it on
    which that stands: to say the side first takes both lookups in one step, which even the LLM
    gets wrong every seventh time."""
    at = step.order.index(step.thing)
    beside = f"{step.order[at - 1]} before" if at else f"{step.order[1]} after"
    return f"{beginning} {step.thing}, {beside}: {listed(step.order, between)}.\n"


def brief(problem: Problem, rng: random.Random) -> str:
    """One line for each step, in words and layout that vary."""
    between = rng.choice(BETWEEN)
    return "".join(_begun(steps(problem, rng=rng), between, rng)) + end(problem)


def _begun(done: Sequence[Step], between: str, rng: random.Random) -> list[str]:
    """Lines that begin with various words, but for the first: an SLM that were unsure there would
    be taken over by an LLM that then writes at length."""
    words = [BEGINNINGS[0], *rng.choices(BEGINNINGS, k=len(done) - 1)]
    return [line(word, one, between) for word, one in zip(words, done, strict=True)]


def end(problem: Problem) -> str:
    """What every brief trace ends with."""
    return f"{counted(problem)}\n{conclusion(problem.answer)}"


def long(problem: Problem, rng: random.Random) -> list[Span]:
    """``First, Ana is older than Ben: Ana, Ben. Check: Ana before Ben.`` and so on; no variety."""
    spans = [
        Span(
            f"{'Next' if index else 'First'}, {one.statement.text}: {', '.join(one.order)}. "
            f"{check(one)}{BOUNDARY}"
        )
        for index, one in enumerate(steps(problem))
    ]
    whole = f"Then all: {', '.join(problem.order)}.{BOUNDARY}"
    counting = f"{counted(problem)}{BOUNDARY}"
    return [*spans, Span(whole), Span(counting), Span(conclusion(problem.answer))]


def check(step: Step) -> str:
    """What was placed, and the neighbours that it has now."""
    at = step.order.index(step.thing)
    return f"Check: {' before '.join(step.order[max(at - 1, 0) : at + 2])}."


def counted(problem: Problem) -> str:
    """``From the end, the second: first Ben, second Ana.``: up to the place that is asked for."""
    order, place = problem.order, problem.place
    start, things = ("end", order[: place - 1 : -1]) if place < 0 else ("first", order[: place + 1])
    found = [f"{nth} {thing}" for nth, thing in zip(ORDINALS, things, strict=False)]
    return f"From the {start}, the {ORDINALS[len(things) - 1]}: {', '.join(found)}."


def continued(problem: Problem, rng: random.Random) -> list[Span]:
    """A brief trace that someone else began: only the rest is learnt, and in canonical words.

    The continuation keeps how things are set apart, begins its lines with the first word, and
    takes the first statement that is ready, so that a sure LLM hands back at once.
    """
    between = rng.choice(BETWEEN)
    done = steps(problem, rng=rng)
    at = rng.randrange(len(done))
    *before, begun = _begun(done[: at + 1], between, rng)
    beginning = begun.split()[0]
    begun = begun[: _cut(begun, rng) or (0 if at else len(beginning))]
    if not at and between not in begun:
        between = BETWEEN[0]
    if len(begun.split()) < 2:  # even what comes next is the LLM's choice
        todo = steps(problem, done[at - 1].order if at else ())
    else:
        todo = [done[at], *steps(problem, done[at].order)]
    whole = line(beginning if begun else BEGINNINGS[0], todo[0], between)
    rest = "".join(line(BEGINNINGS[0], one, between) for one in todo[1:])
    return [
        Span("".join(before) + begun, learn=False),
        Span(whole[len(begun) :] + rest + end(problem)),
    ]


def _cut(begun: str, rng: random.Random) -> int:
    """Where someone else's line ends: at any piece, half the time before a word that decides."""
    pieces = cuts(begun)
    names = [at for at in pieces if begun[at] == " " and not begun.startswith(BETWEEN[1], at)]
    return rng.choice(names if rng.random() < UNSURE else pieces)
