"""A sheet of working on which shaped kinds write their steps.

It keeps the books that every such kind needs alike: which steps a step builds on, which numbers
the text contains, and the limits on operands, so that a kind is only its text and its arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.pairs.recipe.kinds.running import NAMES
from rstitch.pairs.recipe.problem import MAX_VALUE, Draw, Op, Problem, Step, apply


@dataclass(frozen=True)
class Got:
    """The value of a step, and which step it was."""

    value: int
    index: int


Amount = int | Got
"""An operand: a number of the question, or what a step has given."""


def plain(amount: Amount) -> int:
    return amount.value if isinstance(amount, Got) else amount


class Working:
    """Collects the text and the steps of one problem.

    Every wording is a template with `{name}` for the person and the fields given with it. As in
    `Draw.word`, the last of several wordings is held out of training.
    """

    def __init__(self, kind: str, draw: Draw, unit: str) -> None:
        self.kind = kind
        self.draw = draw
        self.unit = unit
        self.name = draw.pick(NAMES)
        self.sentences: list[str] = []
        self.steps: list[Step] = []

    def say(self, *wordings: str, **fields: str | int) -> None:
        """Write the next sentence."""
        self.sentences.append(self.draw.word(*wordings).format(name=self.name, **fields))

    def say_first(self, *wordings: str, **fields: str | int) -> None:
        """Write a sentence before all others, for numbers known late."""
        self.sentences.insert(0, self.draw.word(*wordings).format(name=self.name, **fields))

    def ask(self, *wordings: str, **fields: str | int) -> Problem:
        """End with the question; the numbers of the problem are read off the text."""
        self.say(*wordings, **fields)
        question = " ".join(self.sentences)
        numbers = tuple(int(digits) for digits in re.findall(r"\d+", question))
        return Problem(self.kind, self.draw.level, question, tuple(self.steps), numbers)

    def step(self, op: Op, a: Amount, b: Amount, phrase: str, unit: str = "") -> Got:
        """Add ``a op b``; products are two digits by one, divisors have one digit."""
        x, y = plain(a), plain(b)
        if op in "*/" and not 2 <= y <= 9:
            raise ValueError(f"{y} is not a one-digit operand")
        if op == "*" and not 10 <= x <= 99:
            raise ValueError(f"{x} is not a two-digit factor")
        value = apply(op, x, y)
        needs = tuple(sorted({m.index for m in (a, b) if isinstance(m, Got)}))
        self.steps.append(Step(op, x, y, unit or self.unit, phrase, needs))
        return Got(value, len(self.steps) - 1)

    def total(self, parts: Sequence[Amount], phrase: str, unit: str = "") -> Got:
        """The sum of two or more parts, one step each."""
        total = self.step("+", parts[0], parts[1], phrase, unit)
        for part in parts[2:]:
            total = self.step("+", total, part, phrase, unit)
        return total

    def products(self, pairs: Sequence[tuple[int, int]], phrases: Sequence[str]) -> list[Got]:
        """A product for each pair, independent of one another."""
        return [self.step("*", *pair, phrase) for pair, phrase in zip(pairs, phrases, strict=True)]

    def sum_of_products(
        self, pairs: Sequence[tuple[int, int]], phrases: Sequence[str], total: str
    ) -> Got:
        """The products and then their sum (no sum where there is only one product)."""
        parts = self.products(pairs, phrases)
        return self.total(parts, total) if len(parts) > 1 else parts[0]

    def event(self, op: Op, a: Amount, b: int, phrase: str, *wordings: str) -> Got:
        """A step together with the sentence that tells it; `{b}` in a wording is the number."""
        self.say(*wordings, b=b)
        return self.step(op, a, b, phrase)


def pairs(draw: Draw, count: int, limit: int = MAX_VALUE) -> list[tuple[int, int]]:
    """Two-digit and one-digit factors whose products together stay below the limit."""
    found = []
    for _ in range(count):
        small = draw.times()
        low, high = (20, 99) if draw.large else (10, 40)
        found.append((draw.rng.randint(low, min(high, limit // count // small)), small))
    return found


def below(draw: Draw, limit: int) -> int:
    """An amount to take away that leaves something; ValueError where the limit is too small."""
    low, high = (12, 150) if draw.large else (3, 30)
    return draw.rng.randint(low, min(high, limit - 1))


def divisor(draw: Draw, value: int) -> int:
    """A one-digit divisor that leaves more than 1; ValueError where there is none."""
    found = [d for d in range(2, 10) if value % d == 0 and value // d > 1]
    if not found:
        raise ValueError(f"no one-digit number divides {value}")
    return draw.rng.choice(found)


def below_for(draw: Draw, value: int, by: int) -> int:
    """An amount to take away from the value so that ``by`` divides what is left."""
    taken = below(draw, value - 2 * by)
    return taken + (value - taken) % by


def listed(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
