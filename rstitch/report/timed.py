"""Seconds of answers held against what their traces took.

A trace is of an answer's last repeat, the table takes the median of all. So each repeat has to lie
within a wide factor of the trace, which a hiccup of the machine does not leave, and the medians of
a method together within a narrow one: that is what its speed-up is made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SLACK = 1e-3
"""Seconds that two clocks may differ by."""
EACH, HICCUP = 10.0, 1.0
"""A repeat is not faster than the trace by more than this factor, nor slower by more than the
factor and these seconds."""
ALL, AROUND = 1.5, 0.1
"""The same of a method's medians together; the seconds are for each answer, and are what there is
around its passes: templates, tokenising, a clock's reading."""


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of one answer by its traces."""

    whole: float
    """The last repeat took at least these."""
    steady: float
    """Passes times the median pass of their side: without what one slow pass adds."""
    closed: bool = True
    """`whole` is by a clock, so it bounds from above too; else it is of the passes alone."""

    @classmethod
    def of(cls, clock: float | None, passes: Sequence[tuple[int, float]]) -> Took:
        """passes: (side, seconds) of each."""
        total = sum(seconds for _, seconds in passes)
        whole = max(clock or 0.0, total)
        sides: dict[int, list[float]] = {}
        for side, seconds in passes:
            sides.setdefault(side, []).append(seconds)
        steady = sum(len(one) * median(one) for one in sides.values())
        return cls(whole, min(whole, steady) if passes else whole, clock is not None)

    def __add__(self, other: Took) -> Took:
        """One after the other."""
        closed = self.closed and other.closed
        return Took(self.whole + other.whole, self.steady + other.steady, closed)


def together(traces: Sequence[Took]) -> Took:
    """Of answers that shared their passes: as long as the longest."""
    return max(traces, key=lambda one: one.whole)


def wrong(seconds: Sequence[float], took: Took) -> Iterator[str]:
    """Of an answer that was written by itself."""
    if seconds[-1] + SLACK < took.whole:
        yield f"seconds is {seconds[-1]:.6g}, its trace took {took.whole:.6g}"
    for one in seconds:
        if one < took.steady / EACH or (took.closed and one > EACH * took.whole + HICCUP):
            yield (
                f"seconds has {one:.6g}, its trace took {took.whole:.6g}: repeats differ by a "
                f"factor of {EACH:g} at most"
            )
            return


@dataclass
class Sums:
    """Of one method."""

    answers: int = 0
    seconds: float = 0.0
    """Medians of the repeats."""
    whole: float = 0.0
    steady: float = 0.0
    closed: bool = True

    def add(self, seconds: Sequence[float], took: Took) -> None:
        self.answers, self.seconds = self.answers + 1, self.seconds + median(seconds)
        self.whole, self.steady = self.whole + took.whole, self.steady + took.steady
        self.closed = self.closed and took.closed

    def wrong(self) -> str | None:
        most = ALL * self.whole + AROUND * self.answers
        if self.steady / ALL <= self.seconds and (not self.closed or self.seconds <= most):
            return None
        return (
            f"its {self.answers} answers took {self.seconds:.6g} seconds (medians of repeats), by "
            f"their traces {self.whole:.6g}: more than a factor of {ALL:g} apart"
        )


def repeats(one: Mapping[str, Any], due: int) -> Iterator[str]:
    """Whether there are as many as the run has, each a number."""
    seconds = one["seconds"]
    if len(seconds) != due:
        yield f"seconds has {len(seconds)} repeats, the run has {due}"
    if not seconds or not all(isinstance(s, int | float) and 0 < s < math.inf for s in seconds):
        yield f"seconds is {seconds}; each must be positive"
