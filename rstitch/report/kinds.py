"""What a method is in a comparison, which its colour and shape say everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rstitch.evals.methods import CONTROLS
from rstitch.policy.registry import is_known
from rstitch.registry import is_file
from rstitch.report.draw.scene import Shape

Kind = Literal["llm", "slm", "ours", "rival", "control"]


@dataclass(frozen=True, slots=True)
class Look:
    told: str
    shape: Shape
    hollow: bool = False


LOOKS: dict[Kind, Look] = {
    "llm": Look("LLM alone", "diamond"),
    "slm": Look("SLM alone", "diamond"),
    "ours": Look("stitched, by a rule", "circle"),
    "rival": Look("other ways", "square"),
    "control": Look("random controls", "triangle", hollow=True),
}
"""In the order of a legend."""


def kind_of(spec: Mapping[str, Any]) -> Kind:
    """Of a settled method."""
    name = spec["name"]
    if name in ("llm", "slm"):
        return "llm" if name == "llm" else "slm"
    if name in CONTROLS:
        return "control"
    return "ours" if name == "stitched" or is_known(name) or is_file(name) else "rival"


def knobs(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, float]]:
    """Label -> (the parameter that varies, its value), for rules of which at least three settings
    differ in exactly one number: the points of a sweep."""
    rules: dict[str, list[str]] = {}
    for label, spec in specs.items():
        if kind_of(spec) == "ours" and spec["name"] != "stitched":
            rules.setdefault(spec["name"], []).append(label)
    found: dict[str, tuple[str, float]] = {}
    for labels in rules.values():
        varying = [
            name
            for name in specs[labels[0]]
            if len({repr(specs[label].get(name)) for label in labels}) > 1
        ]
        values = [specs[label].get(varying[0]) for label in labels] if len(varying) == 1 else []
        if len(labels) >= 3 and values and all(isinstance(v, int | float) for v in values):
            found |= {
                label: (varying[0], float(value))
                for label, value in zip(labels, values, strict=True)
                if isinstance(value, int | float)
            }
    return found
