"""Where a speed-up comes from: fewer tokens, or cheaper ones. Bars of both, whose product it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rstitch.report.draw.axis import Axis
from rstitch.report.draw.scene import Bar, Box, Line, Mark, Scene, Text, text_width
from rstitch.report.figures.frame import BOTTOM, NARROW, SMALL, Legend, along_bottom, legend
from rstitch.report.kinds import LOOKS, Kind

BAR = 7.0


@dataclass(frozen=True, slots=True)
class Part:
    """One method against the baseline; factors above 1 are faster."""

    label: str
    kind: Kind
    tokens: float
    per_token: float
    interval: tuple[float, float] | None = None
    """Of the product."""

    @property
    def product(self) -> float:
        return self.tokens * self.per_token


def split(parts: Sequence[Part], width: float, title: str) -> Scene:
    """On a logarithmic axis, on which the lengths of both bars add up to the speed-up."""
    narrow = width < NARROW
    row = 42.0 if narrow else 28.0
    scene = Scene(width, 0.0, title)
    entries = [
        Legend("fewer tokens", "slm"),
        Legend("cheaper tokens", "llm"),
        Legend("speed-up, with 95 %", "ink", "circle"),
    ]
    top = legend(scene, 8, 12, width - 4, entries) + 4
    labels = 8.0 if narrow else 16 + max(text_width(one.label, 12) for one in parts)
    box = Box(labels, top, width - 56, top + row * len(parts))
    scene.height = box.bottom + BOTTOM
    axis = _axis(parts, box)
    short = "times, logarithmic: right of 1 is faster"
    along_bottom(scene, box, axis, short if narrow else f"{short} than the LLM alone")
    for number, part in enumerate(parts):
        top = box.top + row * number
        _row(scene, part, axis, box, top, row, narrow)
        x, above = axis.at(1.0), 18 if narrow else 0  # where a name may stand
        scene.add(Line(((x, top + above), (x, top + row)), "ink", 1.2))
    return scene


def _axis(parts: Sequence[Part], box: Box) -> Axis:
    values = [1.0, *(v for one in parts for v in (one.tokens, one.per_token, one.product))]
    values += [end for one in parts for end in one.interval or ()]
    low, high = min(values) / 1.12, max(values) * 1.12
    return Axis(low, max(high, low * 2), box.left, box.right, log=True)


def _row(
    scene: Scene, part: Part, axis: Axis, box: Box, top: float, height: float, narrow: bool
) -> None:
    middle = top + height / 2 + (8 if narrow else 0)
    if narrow:
        scene.add(Text(box.left, top + 10, part.label, "ink", 12))
    else:
        scene.add(Text(box.left - 8, middle, part.label, "ink", 12, "end"))
    one = axis.at(1.0)
    for up, value, colour, told in (
        (-BAR, part.tokens, "slm", "fewer tokens"),
        (0.0, part.per_token, "llm", "cheaper tokens"),
    ):
        x = axis.at(value)
        bar = Bar(min(one, x), middle + up, max(1.0, abs(x - one)), BAR - 1, colour, 0.85,
                  f"{part.label}: {told}, {value:.2f} times")  # fmt: skip
        scene.add(bar)
    if part.interval is not None:
        ends = [(axis.at(end), middle - 0.5) for end in part.interval]
        scene.add(Line(ends, "ink", 1.4))
    look = LOOKS[part.kind]
    told = f"{part.label}: {part.product:.2f} times as fast"
    scene.add(
        Mark(axis.at(part.product), middle - 0.5, "circle", "ink", 4, look.hollow, told),
        Text(box.right + 6, middle, f"{_short(part.product)}x", "ink", SMALL, bold=True),
    )


def _short(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.{0 if math.log10(value) >= 2 else 1}f}"
