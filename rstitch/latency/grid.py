"""Which passes are measured: new tokens x cached tokens x rows, as far as a side can hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rstitch.latency.shape import CATCH_UP, Shape

FEW_ROWS = 4
"""More rows than this are measured up to half of the context only: filling them takes long."""
PARTS = (32, 8, 4, 2)
"""Cached tokens, as parts of the context."""


@dataclass(frozen=True, slots=True)
class Point:
    """All rows alike: so many, each feeding `new` tokens after `cached`."""

    rows: int
    new: int
    cached: int

    @property
    def shape(self) -> Shape:
        return Shape.even(self.rows, self.new, self.cached)


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
    comes first."""
    every = [point for rows in _doubling(1, room.rows) for point in _of_rows(rows, room)]
    return list(dict.fromkeys([*core(room), *every]))


def core(room: Room) -> list[Point]:
    """What is measured however little time there is: a few points of every kind of pass."""
    short, long = room.context // 8, room.context // 2
    most = min(room.context - long, room.tokens)
    wanted = [
        *(Point(1, new, short) for new in (1, 4, CATCH_UP, 2 * CATCH_UP)),
        *(Point(1, new, long) for new in (1, CATCH_UP, most)),
        *(Point(2, 1, cached) for cached in (short, long)),
        *(Point(room.rows, new, cached) for cached in (0, short) for new in (1, 4)),
    ]
    return [point for point in dict.fromkeys(wanted) if _is_in(point, room)]


def _is_in(point: Point, room: Room) -> bool:
    fits = point.cached + point.new <= room.context and point.rows * point.new <= room.tokens
    return fits and point.rows <= room.rows and (point.cached > 0 or point.new > 1)


def _of_rows(rows: int, room: Room) -> Iterator[Point]:
    levels = sorted({0, *(room.context // part for part in PARTS)})
    if rows <= FEW_ROWS:
        levels.append(room.context - 1)
    for cached in levels:
        for new in _widths(rows, room):
            # More than a catch-up is met with few rows at once.
            if cached + new <= room.context and (cached or new > 1):
                yield Point(rows, new, cached)


def _widths(rows: int, room: Room) -> list[int]:
    most = min(room.context, room.tokens // rows)
    catch_ups = [new for new in (1, 2, 4, 8, CATCH_UP) if new <= most]
    prefills = _doubling(2 * CATCH_UP, most, 4) if most > CATCH_UP else []
    thinned = rows not in (1, FEW_ROWS, 16)  # two in three numbers of rows: the terms are linear
    return [1, *catch_ups[2::2]] if thinned else [*catch_ups, *prefills]


def _doubling(first: int, last: int, by: int = 2) -> list[int]:
    """first, 2 first, 4 first, ... and last."""
    found = []
    while first < last:
        found.append(first)
        first *= by
    return [*found, last]
