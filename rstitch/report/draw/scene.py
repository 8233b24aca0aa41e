"""What is drawn: shapes at pixels from the top left, their colours named after what they mean.

A figure is laid out once for a width; the same shapes become SVG and PNG, so both say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

SIZE = 12.0
"""Pixels of ordinary text."""
WIDTH_OF_CHARACTER = 0.58
"""Of its size, on average over the sans-serif faces that a reader may have."""

Point = tuple[float, float]
Shape = Literal["circle", "square", "diamond", "triangle"]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Line:
    points: Sequence[Point]
    colour: str
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0
    told: str = ""
    """What a pointer over it is told."""


@dataclass(frozen=True, slots=True)
class Mark:
    x: float
    y: float
    shape: Shape
    colour: str
    radius: float = 5.0
    hollow: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    x: float
    y: float
    """Of the middle of the line."""
    text: str
    colour: str = "ink"
    size: float = SIZE
    anchor: Anchor = "start"
    bold: bool = False
    upright: bool = True
    """False: turned to read from below."""


Item = Line | Bar | Mark | Text


@dataclass
class Scene:
    """A figure."""

    width: float
    height: float
    title: str
    """What a screen reader is told."""
    items: list[Item] = field(default_factory=list)

    def add(self, *items: Item) -> None:
        self.items += items


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, gap: float = 0.0) -> bool:
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Pixels, a little generous."""
    return len(text) * size * WIDTH_OF_CHARACTER * (1.06 if bold else 1.0)


def box_of(text: Text) -> Box:
    width = text_width(text.text, text.size, text.bold)
    left = text.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor] * width
    return Box(left, text.y - text.size * 0.6, left + width, text.y + text.size * 0.6)
