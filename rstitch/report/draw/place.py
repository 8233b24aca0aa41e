"""Labels of points that lie close together: near their points, on nothing else.

Each takes the cheapest free place, those that matter most first: beside its point, else farther
away with a line to it. A full frame is the only way to end up on top of another, so it is tested.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rstitch.report.draw.scene import SIZE, Anchor, Box, Item, Line, Point, Text, box_of, text_width

DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (0.8, -0.7), (0.8, 0.7), (-0.8, -0.7), (-0.8, 0.7))
BESIDE = 9.0
"""Pixels from a point to a label that needs no line."""
GRID = 9.0
CROSSING, ON_LINE, TIED = 60.0, 22.0, 14.0
"""What it costs, in pixels of distance, to cross another's line, to lie on a line that is drawn,
and to need a line."""


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    text: str
    colour: str = "ink"
    bold: bool = False
    size: float = SIZE - 1


@dataclass(frozen=True, slots=True)
class Placed:
    text: Text
    box: Box
    tie: tuple[Point, Point] | None

    @property
    def items(self) -> list[Item]:
        if self.tie is None:
            return [self.text]
        return [Line(self.tie, self.text.colour, 0.8, opacity=0.6), self.text]


def place(labels: Sequence[Label], frame: Box, lines: Sequence[Box] = ()) -> list[Placed]:
    """In the order given. lines: what is better not written upon."""
    points = [Box(one.x - 6, one.y - 6, one.x + 6, one.y + 6) for one in labels]
    found: list[Placed] = []
    for label in labels:
        options = sorted(_options(label, frame), key=_least)
        free = [one for one in options if not _taken(one.box, points, found)]
        found.append(_cheapest(free or options, label, lines, found, points))
    return found


def _least(option: Placed) -> float:
    """What it costs at least: cheap to tell, so that most options are never looked at."""
    return 0.0 if option.tie is None else TIED + math.dist(*option.tie)


def _cheapest(
    options: Sequence[Placed],
    label: Label,
    lines: Sequence[Box],
    found: Sequence[Placed],
    points: Sequence[Box],
) -> Placed:
    """options: by what they cost at least."""
    best, lowest = options[0], math.inf
    for option in options:
        if _least(option) >= lowest:
            break
        cost = _cost(option, label, lines, found, points)
        if cost < lowest:
            best, lowest = option, cost
    return best


def _taken(box: Box, points: Sequence[Box], found: Sequence[Placed]) -> bool:
    return any(box.meets(one) for one in points) or any(box.meets(one.box, 2) for one in found)


def _options(label: Label, frame: Box) -> Iterator[Placed]:
    width, height = text_width(label.text, label.size, label.bold), label.size * 1.2
    for dx, dy in DIRECTIONS:
        anchor: Anchor = "start" if dx > 0 else "end" if dx < 0 else "middle"
        at = label.x + BESIDE * dx, label.y + dy * (BESIDE + height / 2)
        yield from _option(label, *at, None, frame, anchor)
    rows = int((frame.bottom - frame.top) / GRID)
    columns = int((frame.right - frame.left) / GRID)
    for row in range(rows):
        for column in range(columns):
            left, middle = frame.left + column * GRID, frame.top + row * GRID
            end = (min(max(label.x, left), left + width), middle)
            tie = ((label.x, label.y), end)
            if label.x > left + width:  # so that the line meets the text, however wide it is
                yield from _option(label, left + width, middle, tie, frame, "end")
            else:
                yield from _option(label, left, middle, tie, frame)


def _option(
    label: Label,
    x: float,
    middle: float,
    tie: tuple[Point, Point] | None,
    frame: Box,
    anchor: Anchor = "start",
) -> Iterator[Placed]:
    text = Text(x, middle, label.text, label.colour, label.size, anchor, label.bold)
    box = box_of(text)
    if box.within(frame):
        if tie is not None:  # it ends at the edge of the text
            (px, py), (at, _) = tie
            level = box.top + 1 if py < box.top else box.bottom - 1 if py > box.bottom else middle
            tie = ((px, py), (at - 2 if px < box.left else at + 2 if px > box.right else at, level))
        yield Placed(text, box, tie)


def _cost(
    option: Placed,
    label: Label,
    lines: Sequence[Box],
    found: Sequence[Placed],
    points: Sequence[Box],
) -> float:
    box = option.box
    cost = ON_LINE * sum(box.meets(line) for line in lines)
    cost += sum(CROSSING for one in found if one.tie and _cuts(one.tie, box))
    if option.tie is None:
        return cost + 2.0 * (box.right < label.x) + 1.0 * (box.bottom < label.y)
    (x, y), end = option.tie
    cost += TIED + math.dist((x, y), end)
    cost += sum(CROSSING for one in found if _cuts(option.tie, one.box))
    others = [p for p in points if not (p.left < x < p.right and p.top < y < p.bottom)]
    cost += sum(CROSSING / 3 for p in others if _cuts(option.tie, p))
    return cost + sum(CROSSING for one in found if one.tie and _cross(option.tie, one.tie))


def _cuts(tie: tuple[Point, Point], box: Box) -> bool:
    """Whether a line runs through a box, by points along it."""
    (x, y), (u, v) = tie
    steps = max(2, int(math.dist((x, y), (u, v)) / 3))
    along = ((x + (u - x) * i / steps, y + (v - y) * i / steps) for i in range(steps + 1))
    return any(box.left < a < box.right and box.top < b < box.bottom for a, b in along)


def _cross(one: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    def side(a: Point, b: Point, c: Point) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    (a, b), (c, d) = one, other
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
