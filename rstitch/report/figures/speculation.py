"""Whether speculative decoding pays where both models agree: a point for every problem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rstitch.report.draw.axis import Axis, axis_of
from rstitch.report.draw.scene import Box, Line, Mark, Scene
from rstitch.report.figures.frame import BOTTOM, Legend, along_bottom, along_left, legend

PERCENT = 100


def scatter(found: Mapping[str, Any], width: float) -> Scene | None:
    """Speed-up over the LLM alone against agreement on its text."""
    speculation = found.get("speculation") or {}
    points = [
        (str(problem), PERCENT * float(agree), float(speed))
        for problem, agree, speed in speculation.get("pairs") or []
    ]
    if not points:
        return None
    scene = Scene(width, 330, "Speed-up of speculative decoding against agreement")
    top = legend(scene, 8, 12, width - 4, [Legend(_said(speculation, points), "rival", "circle")])
    box = Box(52, top + 24, width - 12, 330 - BOTTOM)
    agreements, speeds = [x for _, x, _ in points], [y for _, _, y in points]
    across = _within_hundred(axis_of(agreements, box.left, box.right))
    up = axis_of([1.0, *speeds], box.bottom, box.top)
    along_bottom(scene, box, across, "% of the LLM's tokens that are the SLM's likeliest too")
    along_left(scene, box, up, "times as fast as the LLM alone")
    scene.add(Line(((box.left, up.at(1.0)), (box.right, up.at(1.0))), "llm", 1.2, dashed=True))
    for problem, agree, speed in points:
        told = f"{problem}: {agree:.1f} % agree, {speed:.2f} times as fast"
        colour = "rival" if speed >= 1 else "bad"
        scene.add(Mark(across.at(agree), up.at(speed), "circle", colour, 3.5, told=told))
    return scene


def _said(speculation: Mapping[str, Any], points: list[tuple[str, float, float]]) -> str:
    rho = speculation.get("rho")
    known = "" if rho is None else f", Spearman's rho {float(rho):.2f}"
    return f"{len(points)} problems, slower on {int(speculation['slower'])}{known}"


def _within_hundred(axis: Axis) -> Axis:
    """No room for what cannot be."""
    return Axis(axis.low, min(axis.high, 100.5), axis.start, axis.end, axis.log)
