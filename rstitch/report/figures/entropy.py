"""What a recording says of entropy: its distribution, and whether it sees harmful tokens coming.

Entropies are normalised; a second row of numbers gives nats, as the paper's figures have them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rstitch.report.draw.axis import Axis, axis_of, said
from rstitch.report.draw.scene import Bar, Box, Line, Mark, Scene, Text
from rstitch.report.figures.frame import BOTTOM, SMALL, Legend, along_bottom, along_left, legend

SENSES = (("h1", "replacing it rescues", "ours"), ("h2", "the LLM can go on before it", "bad"))
"""Both senses of a harmful token, as the analysis names them."""


def histogram(found: Mapping[str, Any], width: float) -> Scene | None:
    """Share of each side's tokens per bin, tau marked."""
    entropy = found["entropy"]
    if entropy is None:  # a recording without --score-both
        return None
    edges = [float(edge) for edge in entropy["histogram"]["edges"]]
    counts = {side: entropy["histogram"].get(side) or [] for side in ("slm", "llm")}
    shares = {s: [n / sum(c) for n in c] for s, c in counts.items() if sum(c)}
    drawn = [edge for edge in edges if edge > 0]
    if not shares or len(drawn) < 2:
        return None
    scene = Scene(width, 330, "Entropy of the tokens of both sides")
    entries = [Legend(f"{side.upper()}'s tokens", side) for side in shares]
    top = legend(scene, 8, 12, width - 4, entries) + 24
    box = Box(52, top, width - 12, 330 - BOTTOM - 16)
    across = Axis(drawn[0], drawn[-1], box.left, box.right, log=True)
    most = max(max(one) for one in shares.values())
    up = Axis(0.0, 108 * most, box.bottom, box.top)
    along_left(scene, box, up, "share of tokens", " %")
    _both_units(scene, box, across, math.log(found["vocabulary"]))
    for number, (side, share) in enumerate(shares.items()):
        _bars(scene, across, up, edges, share, side, number, len(shares))
    tau = float(found["tau"])
    if drawn[0] < tau < drawn[-1]:
        x = across.at(tau)
        scene.add(
            Line(((x, box.top), (x, box.bottom)), "ink", 1.4, dashed=True),
            Text(x, box.top - 8, f"tau {tau:g}", "ink", SMALL, "middle", bold=True),
        )
    return scene


def _both_units(scene: Scene, box: Box, across: Axis, nats: float) -> None:
    along_bottom(scene, box, across, "")
    for value in across.ticks(max(2, int((box.right - box.left) / 70))):
        text = said(value * nats)
        scene.add(Text(across.at(value), box.bottom + 29, text, "soft", SMALL, "middle"))
    middle = (box.left + box.right) / 2
    name = "entropy: normalised above, nats below"
    scene.add(Text(middle, box.bottom + 48, name, "soft", SMALL, "middle"))


def _bars(
    scene: Scene,
    across: Axis,
    up: Axis,
    edges: Sequence[float],
    shares: Sequence[float],
    side: str,
    number: int,
    sides: int,
) -> None:
    for low, high, share in zip(edges, edges[1:], shares, strict=False):
        left = across.at(max(low, across.low))
        size = (across.at(high) - left) / sides
        top = up.at(100 * share)
        scene.add(
            Bar(left + number * size, top, max(size - 0.5, 0.5), up.start - top, side, 0.9,
                f"{side.upper()}: {100 * share:.1f} % of its tokens from {low:.2g} to {high:.2g}")
        )  # fmt: skip


def windows(found: Mapping[str, Any], width: float) -> Scene | None:
    """Mean entropy of the tokens before a harmful one, beside the mean of all."""
    curves = _curves(found, "mean_entropy")
    if not curves:
        return None
    scene = Scene(width, 300, "Mean entropy in a window before a harmful token")
    overall = next((found["harm"][s].get("overall_mean") for s, _, _ in curves), None)
    values = [v for _, _, curve in curves for v in curve.values()]
    values += [overall] if overall is not None else []
    entries = [Legend(name, colour, "circle") for _, (name, colour), _ in curves]
    entries += [Legend(f"all tokens: {overall:.3g}", "soft")] if overall is not None else []
    top = legend(scene, 8, 12, width - 4, entries) + 24
    box = Box(60, top, width - 14, 300 - BOTTOM)
    sizes = sorted({size for _, _, curve in curves for size in curve})
    across = axis_of([min(sizes), max(sizes)], box.left, box.right)
    up = Axis(0.0, 1.15 * max(values), box.bottom, box.top)
    along_left(scene, box, up, "mean normalised entropy of the SLM")
    _sizes(scene, box, across, sizes)
    if overall is not None:
        y = up.at(overall)
        scene.add(Line(((box.left, y), (box.right, y)), "soft", 1.2, dashed=True))
    for _, (name, colour), curve in curves:
        points = [(across.at(size), up.at(value)) for size, value in sorted(curve.items())]
        scene.add(Line(points, colour, 1.8))
        scene.add(
            *(
                Mark(x, y, "circle", colour, 4, told=f"{name}, window {size}: {curve[size]:.4g}")
                for (x, y), size in zip(points, sorted(curve), strict=True)
            )
        )
    return scene


def aurocs(found: Mapping[str, Any], width: float) -> Scene | None:
    """How well the entropy before a token tells harmful ones from others; 0.5 is a coin."""
    curves = _curves(found, "auroc")
    if not curves:
        return None
    scene = Scene(width, 300, "AUROC of entropy for harmful tokens")
    entries = [Legend(name, colour) for _, (name, colour), _ in curves]
    top = legend(scene, 8, 12, width - 4, entries) + 24
    box = Box(52, top, width - 12, 300 - BOTTOM)
    sizes = sorted({size for _, _, curve in curves for size in curve})
    up = Axis(0.0, 1.0, box.bottom, box.top)
    along_left(scene, box, up, "AUROC: 0.5 tells nothing")
    slot = (box.right - box.left) / len(sizes)
    bar = min(28.0, slot * 0.7 / len(curves))
    for place, size in enumerate(sizes):
        middle = box.left + slot * (place + 0.5)
        scene.add(Text(middle, box.bottom + 14, f"{size:g}", "soft", SMALL, "middle"))
        for number, (_, (name, colour), curve) in enumerate(curves):
            if size in curve:
                left = middle + (number - len(curves) / 2) * bar
                y = up.at(curve[size])
                told = f"{name}, window {size:g}: {curve[size]:.3f}"
                scene.add(Bar(left, y, bar - 2, box.bottom - y, colour, 0.9, told))
                scene.add(
                    Text(left + bar / 2 - 1, y - 7, f"{curve[size]:.2f}", "ink", 9.5, "middle")
                )
    half = up.at(0.5)
    scene.add(Line(((box.left, half), (box.right, half)), "ink", 1.2, dashed=True))
    name = "tokens in the window"
    scene.add(Text((box.left + box.right) / 2, box.bottom + 34, name, "soft", SMALL, "middle"))
    return scene


def _curves(
    found: Mapping[str, Any], key: str
) -> list[tuple[str, tuple[str, str], dict[float, float]]]:
    """(sense, (its name, its colour), window -> value) of what the analysis has."""
    harm = found.get("harm") or {}
    curves = []
    for sense, name, colour in SENSES:
        values = (harm.get(sense) or {}).get(key) or {}
        curve = {float(size): float(v) for size, v in values.items() if _is_number(v)}
        if curve:
            curves.append((sense, (name, colour), curve))
    return curves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _sizes(scene: Scene, box: Box, across: Axis, sizes: Sequence[float]) -> None:
    for size in sizes:
        x = across.at(size)
        scene.add(
            Line(((x, box.top), (x, box.bottom)), "rule"),
            Text(x, box.bottom + 14, f"{size:g}", "soft", SMALL, "middle"),
        )
    name = "tokens in the window"
    scene.add(Text((box.left + box.right) / 2, box.bottom + 34, name, "soft", SMALL, "middle"))
