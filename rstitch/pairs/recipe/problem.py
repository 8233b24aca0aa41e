"""A word problem and its solution steps: what kinds produce, and what traces spell out.

Everything the generator knows about a problem is here, so that wording (kinds), solution style
(traces) and splits can each change without the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Op = Literal["+", "-", "*", "/"]

MAX_VALUE = 299
"""Largest result of a step. A few questions name a larger number (a book of 528 pages)."""


def apply(op: Op, a: int, b: int) -> int:
    """Exact result of ``a op b``; ValueError where it is not whole or not in 1..MAX_VALUE."""
    if op == "/":
        if b == 0 or a % b:
            raise ValueError(f"{a}/{b} is not a whole number")
        value = a // b
    else:
        value = {"+": a + b, "-": a - b, "*": a * b}[op]
    if not 0 < value <= MAX_VALUE:
        raise ValueError(f"{a}{op}{b} = {value} is outside 1..{MAX_VALUE}")
    return value


@dataclass(frozen=True)
class Step:
    """One line of arithmetic: ``a op b = value``, what it counts, and the steps it builds on."""

    op: Op
    a: int
    b: int
    unit: str
    """One plain word for what the value counts ("eggs", "dollars")."""
    phrase: str
    """Two to four words that say what is worked out ("eggs in boxes"), used by the long style."""
    needs: tuple[int, ...] = ()
    """Indices of earlier steps whose values this step uses; the rest may be reordered."""

    @property
    def value(self) -> int:
        return apply(self.op, self.a, self.b)


class Posed(Protocol):
    """What every task's problems have, whatever they are about."""

    @property
    def kind(self) -> str: ...
    @property
    def level(self) -> int: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> int | str: ...
    @property
    def told(self) -> tuple[int | str, ...]:
        """What it says, in whichever words: (kind, told) decides the split."""
        ...


@dataclass(frozen=True)
class Problem:
    """A question in plain English with its whole-number answer (the value of the last step)."""

    kind: str
    level: int
    question: str
    steps: tuple[Step, ...]
    numbers: tuple[int, ...]
    """The numbers of the question, in the order written."""

    def __post_init__(self) -> None:
        for step in self.steps:
            apply(step.op, step.a, step.b)  # raises ValueError, and the kind is drawn again

    @property
    def answer(self) -> int:
        return self.steps[-1].value

    @property
    def told(self) -> tuple[int, ...]:
        return self.numbers


@dataclass(frozen=True)
class Draw:
    """What a kind draws from: the random source, the difficulty, the wordings open to it."""

    rng: random.Random
    level: int
    held_out_wording: bool = False

    @property
    def n_steps(self) -> int:
        """2, 2, 3, 3, 4, 4 steps at levels 1..6; levels 7 and 8 (ood-depth) have 5 and 6."""
        return {7: 5, 8: 6}.get(self.level, 2 + (self.level - 1) // 2)

    @property
    def large(self) -> bool:
        """Levels 2, 4 and 6 use larger operands; beyond training only the depth grows."""
        return self.level in (2, 4, 6)

    def count(self) -> int:
        """A starting amount."""
        return self.rng.randint(10, 40) if self.large else self.rng.randint(4, 30)

    def part(self) -> int:
        """An amount to add or take away."""
        return self.rng.randint(8, 60) if self.large else self.rng.randint(3, 20)

    def times(self) -> int:
        """A one-digit factor or divisor."""
        return self.rng.randint(3, 6) if self.large else self.rng.randint(2, 5)

    def word(self, *options: str) -> str:
        """One of several wordings. The LAST option is held out: ood-wording uses it alone."""
        return options[-1] if self.held_out_wording else self.rng.choice(options[:-1])

    def pick(self, options: Sequence[str]) -> str:
        """A filler (a name, a colour): no wording is held out."""
        return self.rng.choice(list(options))


Kind = Callable[[Draw], Problem]
"""Draws one problem; ValueError when the numbers do not work out (the caller draws again)."""
