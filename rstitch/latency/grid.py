"""Which passes are measured: new tokens x cached tokens x rows, as far as a side can hold them.

Rows of one pass are seldom alike, and a pass whose rows are is cheaper than one whose rows are not.
So several rows have contexts of different lengths here too, and where they feed more than a token,
different numbers of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rstitch.latency.shape import CATCH_UP, Shape

PARTS = (32, 8, 4, 2)
"""Cached tokens of one row, as parts of the context."""
FEWER = (8, 2)
"""Those of several: filling them takes long."""
FEW_ROWS = 4
"""So many are measured at the context's end too."""
UNEVEN = 8
"""So many widths of prompts in a batch: the widest, one less, ..."""


@dataclass(frozen=True, slots=True)
class Point:
    """So many rows, which feed up to `new` tokens after up to `cached`."""

    rows: int
    new: int
    cached: int
    lone: bool = False
    """One row feeds so many, and the others catch up beside it."""

    @property
    def widths(self) -> list[int]:
        """New tokens of each row; the first has the most."""
        if self.rows == 1 or self.new == 1:
            return [self.new] * self.rows
        if self.lone:
            return [self.new, *(1 << at % 4 for at in range(1, self.rows))]
        if self.new > CATCH_UP:
            return [self.new - at % UNEVEN for at in range(self.rows)]
        return [max(1, self.new >> at % 4) for at in range(self.rows)]

    @property
    def contexts(self) -> list[int]:
        """Cached tokens of each row; the first has the most."""
        return [self.cached - at % 4 * self.cached // 8 for at in range(self.rows)]

    @property
    def shape(self) -> Shape:
        return Shape.of(zip(self.widths, self.contexts, strict=True))


@dataclass(frozen=True, slots=True)
class Room:
    """What a pass may be."""

    context: int
    """Tokens that a row may hold."""
    rows: int
    tokens: int
    """Fed in one pass."""


def points(room: Room) -> list[Point]:
    """By rows, then by cached tokens, then by new ones: rows are filled once and only grow. `core`
    comes first, then one row, as many as may be, and what lies between, from the middle on: what
    comes last is left out where time is short."""
    one, *between, most = [*_doubling(1, room.rows)] if room.rows > 1 else [1, 1]
    middle = len(between) // 2
    sizes = [one, most, *sorted(between, key=lambda rows: abs(between.index(rows) - middle))]
    return list(dict.fromkeys([*core(room), *(p for rows in sizes for p in _of_rows(rows, room))]))


def core(room: Room) -> list[Point]:
    """What is measured however little time there is: a few points of every kind of pass."""
    short, long = room.context // 8, room.context // 2
    most = min(room.context - long, room.tokens)
    wanted = [
        *(Point(1, new, short) for new in (1, 4, CATCH_UP, 2 * CATCH_UP)),
        *(Point(1, new, long) for new in (1, CATCH_UP, most)),
        *(Point(2, 1, cached) for cached in (short, long)),
        *(Point(room.rows, new, cached) for cached in (0, short) for new in (1, 4)),
        *(Point(room.rows, 2 * CATCH_UP, cached, lone=True) for cached in (0, short)),
    ]
    return [point for point in dict.fromkeys(wanted) if _is_in(point, room)]


def _is_in(point: Point, room: Room) -> bool:
    fits = point.cached + point.new <= room.context and sum(point.widths) <= room.tokens
    alone = point.lone and point.rows == 1
    return fits and point.rows <= room.rows and (point.cached > 0 or point.new > 1) and not alone


def _of_rows(rows: int, room: Room) -> Iterator[Point]:
    levels = sorted({0, *(room.context // part for part in (PARTS if rows == 1 else FEWER))})
    if rows <= FEW_ROWS:
        levels.append(room.context - 1)
    for cached in levels:
        for point in _of_width(rows, cached, room):
            if _is_in(point, room):
                yield point


def _of_width(rows: int, cached: int, room: Room) -> Iterator[Point]:
    """A token, catch-ups, prefills. Many rows have prompts at once only where nothing is cached."""
    most = min(room.context - cached, room.tokens // rows)
    for new in (1, 2, 4, 8, CATCH_UP):
        yield Point(rows, new, cached)
    if room.context - cached > CATCH_UP:
        for new in _doubling(2 * CATCH_UP, room.context - cached):
            yield Point(rows, new, cached, lone=rows > 1)
    if rows > 1 and not cached and most > CATCH_UP:
        for new in _doubling(2 * CATCH_UP, most, 4):
            yield Point(rows, new, cached)


def _doubling(first: int, last: int, by: int = 2) -> list[int]:
    """first, 2 first, 4 first, ... and last."""
    found = []
    while first < last:
        found.append(first)
        first *= by
    return [*found, last]
