"""Kinds in which one amount changes step by step: a store, a train, a purse.

Only the machinery is here. Each story is data (an opening, a question, and the events that may
happen in between) in the `stories_*` files, so that wording can be reviewed without code.
"""

from __future__ import annotations

from dataclasses import dataclass

from rstitch.pairs.recipe.problem import Draw, Op, Problem, Step, apply

NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")


@dataclass(frozen=True)
class Event:
    """Something that happens to the amount. `{b}` in a wording is the number involved."""

    op: Op
    wordings: tuple[str, ...]
    """At least three sentences; the last is held out of training."""
    phrase: str
    """What the amount is after it, in two to four words ("eggs after selling")."""


@dataclass(frozen=True)
class Story:
    """A running kind. `{a}` is the starting amount, `{name}` a person."""

    name: str
    unit: str
    openings: tuple[str, ...]
    events: tuple[Event, ...]
    questions: tuple[str, ...]
    names: tuple[str, ...] = NAMES

    def __call__(self, draw: Draw) -> Problem:
        person = draw.pick(self.names)
        start = draw.count()
        value = start
        sentences = [draw.word(*self.openings).format(a=start, name=person)]
        numbers, steps = [start], []
        previous: Event | None = None
        for index in range(draw.n_steps):
            event, b = self._event(draw, value, previous)
            sentences.append(draw.word(*event.wordings).format(b=b, name=person))
            steps.append(
                Step(event.op, value, b, self.unit, event.phrase, (index - 1,) if index else ())
            )
            numbers.append(b)
            value = apply(event.op, value, b)
            previous = event
        sentences.append(draw.word(*self.questions).format(name=person))
        return Problem(self.name, draw.level, " ".join(sentences), tuple(steps), tuple(numbers))

    def _event(self, draw: Draw, value: int, previous: Event | None) -> tuple[Event, int]:
        """An event other than the last one whose number works out; ValueError after 20 tries."""
        for _ in range(20):
            event = draw.rng.choice(self.events)
            if event is previous:
                continue
            if event.op == "*" and value > 99:
                continue
            if event.op == "/":
                divisors = [d for d in range(2, 10) if value % d == 0 and value // d > 1]
                if not divisors:
                    continue
                return event, draw.rng.choice(divisors)
            b = draw.times() if event.op == "*" else draw.part()
            if event.op == "-" and b > value - 2:
                continue
            try:
                apply(event.op, value, b)
            except ValueError:
                continue
            return event, b
        raise ValueError(f"no event of {self.name} fits {value}")
