"""Accuracy against seconds an answer, with intervals: the figure that the whole comparison is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rstitch.report.draw.axis import Axis, axis_of
from rstitch.report.draw.place import Label, place
from rstitch.report.draw.scene import Box, Line, Mark, Scene, Text
from rstitch.report.figures.frame import BOTTOM, NARROW, Legend, along_bottom, along_left, legend
from rstitch.report.kinds import LOOKS, Kind

PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Spot:
    """One method."""

    label: str
    kind: Kind
    seconds: float
    """An answer; many in flight, one over the answers of a second."""
    right: float
    """Share."""
    interval: tuple[float, float] | None = None
    first: bool = False
    """It is what the comparison is about."""
    knob: tuple[str, float] | None = None
    """Of a sweep: the parameter that varies, and its value."""
    curve: str = ""
    """The rule whose settings a line connects."""

    @property
    def told(self) -> str:
        low, high = self.interval or (self.right, self.right)
        within = f" ({PERCENT * low:.1f} to {PERCENT * high:.1f})" if self.interval else ""
        return f"{self.label}: {PERCENT * self.right:.1f} % right{within}, {self.seconds:.3g} s"


def frontier(
    spots: Sequence[Spot],
    width: float,
    axis_name: str,
    title: str,
    names: Mapping[Kind, str] | None = None,
) -> Scene:
    """Labelled without overlap; the LLM alone as dashed lines; a sweep's points connected.

    names: what the legend calls a kind, where that is not its own name.
    """
    told = {kind: look.told for kind, look in LOOKS.items()} | dict(names or {})
    height = 460.0 if width >= NARROW else 420.0
    scene = Scene(width, height, title)
    shown = [kind for kind in LOOKS if any(one.kind == kind for one in spots)]
    entries = [Legend(told[k], k, LOOKS[k].shape, LOOKS[k].hollow) for k in shown]
    top = legend(scene, 8, 12, width - 4, entries) + 26
    box = Box(52, top, width - 10, height - BOTTOM)
    across, up = _axes(spots, box)
    along_bottom(scene, box, across, axis_name)
    along_left(scene, box, up, "answers right", " %")
    crossed = _references(scene, spots, box, across, up)
    for spot in spots:
        crossed += _interval(scene, spot, across, up)
    crossed += _curves(scene, spots, across, up)
    for spot in sorted(spots, key=_rank, reverse=True):
        scene.add(_mark(spot, across, up))
    ordered = sorted(spots, key=_rank)
    labels = [
        Label(across.at(one.seconds), up.at(PERCENT * one.right), _name(one), one.kind,
              bold=one.first)
        for one in ordered
    ]  # fmt: skip
    for placed in place(labels, box, crossed):
        scene.add(*placed.items)
    return scene


def _axes(spots: Sequence[Spot], box: Box) -> tuple[Axis, Axis]:
    lows = [one.interval[0] if one.interval else one.right for one in spots]
    highs = [one.interval[1] if one.interval else one.right for one in spots]
    low, high = PERCENT * min(lows), PERCENT * max(highs)
    room = max(1.0, 0.08 * (high - low))
    up = Axis(max(0.0, low - room), min(PERCENT, high + room) + room / 3, box.bottom, box.top)
    return axis_of([one.seconds for one in spots], box.left, box.right, pad=0.1), up


def _references(scene: Scene, spots: Sequence[Spot], box: Box, across: Axis, up: Axis) -> list[Box]:
    """Lines through the LLM alone: up and to the left of both is better in both."""
    base = next((one for one in spots if one.kind == "llm"), None)
    if base is None:
        return []
    x, y = across.at(base.seconds), up.at(PERCENT * base.right)
    scene.add(
        Line(((box.left, y), (box.right, y)), "llm", 1.2, dashed=True, opacity=0.8),
        Line(((x, box.top), (x, box.bottom)), "llm", 1.2, dashed=True, opacity=0.8),
        Text(box.right, box.top - 14, "up and left is better", "soft", 11, "end"),
    )
    return [Box(box.left, y - 1, box.right, y + 1), Box(x - 1, box.top, x + 1, box.bottom)]


def _interval(scene: Scene, spot: Spot, across: Axis, up: Axis) -> list[Box]:
    if spot.interval is None:
        return []
    x = across.at(spot.seconds)
    low, high = (up.at(PERCENT * end) for end in spot.interval)
    colour = spot.kind
    strength = 0.9 if spot.first else 0.35
    scene.add(Line(((x, low), (x, high)), colour, 1.5, opacity=strength))
    scene.add(*(Line(((x - 3, y), (x + 3, y)), colour, 1.5, opacity=strength) for y in (low, high)))
    return [Box(x - 3, high, x + 3, low)]


def _curves(scene: Scene, spots: Sequence[Spot], across: Axis, up: Axis) -> list[Box]:
    names = dict.fromkeys((one.curve, one.knob[0]) for one in spots if one.knob)
    crossed = []
    for rule, knob in names:
        members = [s for s in spots if s.knob and (s.curve, s.knob[0]) == (rule, knob)]
        points = sorted(
            (one.knob[1], across.at(one.seconds), up.at(PERCENT * one.right))
            for one in members
            if one.knob
        )
        path = [(x, y) for _, x, y in points]
        scene.add(Line(path, members[0].kind, 1.8, opacity=0.7))
        for (x, y), (u, v) in zip(path, path[1:], strict=False):
            crossed += [
                Box(m - 2, n - 2, m + 2, n + 2)
                for i in range(1, 8)
                for m, n in [(x + (u - x) * i / 8, y + (v - y) * i / 8)]
            ]
    return crossed


def _mark(spot: Spot, across: Axis, up: Axis) -> Mark:
    look = LOOKS[spot.kind]
    x, y = across.at(spot.seconds), up.at(PERCENT * spot.right)
    radius = 6.5 if spot.first else 5.0
    return Mark(x, y, look.shape, spot.kind, radius, look.hollow, spot.told)


def _name(spot: Spot) -> str:
    """In a sweep the value alone would do, but a label is read by itself."""
    return f"{spot.knob[0]} {spot.knob[1]:g}" if spot.knob else spot.label


def _rank(spot: Spot) -> int:
    """What matters most is labelled first and drawn last."""
    if spot.first:
        return 0
    return 1 + ("llm", "slm", "ours", "rival", "control").index(spot.kind)
