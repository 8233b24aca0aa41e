"""What every plot has: a frame with round numbers at its edges."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch.report.draw.axis import Axis, said
from rstitch.report.draw.scene import Bar, Box, Line, Mark, Scene, Shape, Text, text_width

SMALL = 11.0
BOTTOM = 46.0
"""Pixels under a plot, for numbers and the name of its axis."""
NARROW = 500.0
"""Pixels of width below which a figure is one of a phone."""


@dataclass(frozen=True, slots=True)
class Legend:
    name: str
    colour: str
    shape: Shape | None = None
    """None for an area."""
    hollow: bool = False


def along_bottom(scene: Scene, box: Box, axis: Axis, name: str) -> None:
    """Numbers and their lines, and what they count."""
    room = max(2, int((box.right - box.left) / 70))
    for value in axis.ticks(room):
        x = axis.at(value)
        scene.add(
            Line(((x, box.top), (x, box.bottom)), "rule"),
            Text(x, box.bottom + 14, said(value), "soft", SMALL, "middle"),
        )
    scene.add(Text((box.left + box.right) / 2, box.bottom + 34, name, "soft", SMALL, "middle"))


def along_left(scene: Scene, box: Box, axis: Axis, name: str, unit: str = "") -> None:
    for value in axis.ticks(5):
        y = axis.at(value)
        scene.add(
            Line(((box.left, y), (box.right, y)), "rule"),
            Text(box.left - 6, y, said(value) + unit, "soft", SMALL, "end"),
        )
    scene.add(Text(box.left, box.top - 14, name, "soft", SMALL))


def legend(scene: Scene, left: float, top: float, right: float, entries: list[Legend]) -> float:
    """In rows from the left; the pixel below the last row."""
    x, y = left, top
    for entry in entries:
        width = 22 + text_width(entry.name, SMALL) + 12
        if x > left and x + width > right:
            x, y = left, y + 18
        if entry.shape is None:
            scene.add(Bar(x, y - 5, 12, 10, entry.colour))
        else:
            scene.add(Mark(x + 6, y, entry.shape, entry.colour, 4.5, entry.hollow))
        scene.add(Text(x + 18, y, entry.name, "soft", SMALL))
        x += width
    return y + 14
