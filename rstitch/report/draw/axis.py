"""From values to pixels, with round numbers to mark: linear, or logarithmic where values differ
by a factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
NEAR = 1e-9
LOGARITHMIC = 4.0
"""Ratio of the largest and the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Axis:
    """low and high are the values at the pixels start and end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, found = (self._scaled(x) for x in (self.low, self.high, value))
        return self.start + (found - low) / (high - low) * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-300)) if self.log else value

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers within it, at most about so many."""
        return (
            log_ticks(self.low, self.high, most) if self.log else ticks(self.low, self.high, most)
        )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    rough = (high - low) / max(1, most)
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * one for one in STEPS if size * one >= rough - NEAR * size)
    first = math.ceil(low / step - NEAR)
    return [i * step for i in range(first, math.floor(high / step + NEAR) + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2, 5 of every decade, or 1 alone, or every few decades; linear ones over less."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        found = [d * 10.0**e for e in range(first, last + 1) for d in digits]
        kept = [x for x in found if low * (1 - NEAR) <= x <= high * (1 + NEAR)]
        if len(kept) <= most:
            break
    if len(kept) < 2:
        return ticks(low, high, most)
    return kept[:: math.ceil(len(kept) / most)]


def axis_of(values: Sequence[float], start: float, end: float, pad: float = 0.06) -> Axis:
    """Around positive values, with room at both ends."""
    low, high = min(values), max(values)
    if high >= LOGARITHMIC * low > 0:
        factor = (high / low) ** pad
        return Axis(low / factor, high * factor, start, end, log=True)
    room = (high - low) * pad or abs(high) * pad or 1.0
    return Axis(low - room, high + room, start, end)


def said(value: float) -> str:
    """A tick's number, without digits that say nothing."""
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:,.0f}"
