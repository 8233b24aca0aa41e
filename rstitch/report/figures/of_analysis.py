"""The figures of an analysis by name: the page, the PNGs and the check of a file go by one list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rstitch.report.draw.scene import Scene
from rstitch.report.figures import entropy, speculation


@dataclass(frozen=True, slots=True)
class OfAnalysis:
    name: str
    caption: str
    draw: Callable[[Mapping[str, Any], float], Scene | None]
    """Of an analysis, at a width; None where it lacks the numbers."""
    file: str
    """Name of its PNG."""


FIGURES = (
    OfAnalysis(
        "Entropy of tokens",
        "Share of each side's tokens; what lies right of tau goes to the LLM.",
        entropy.histogram,
        "entropy",
    ),
    OfAnalysis(
        "Before a harmful token",
        "A token that harms is one that loses an answer. If entropy announced it, the curve would "
        "lie well above the mean of all tokens.",
        entropy.windows,
        "windows",
    ),
    OfAnalysis(
        "Telling harmful tokens from others",
        "Against tokens of the same class at which both models differ, and no harm is done.",
        entropy.aurocs,
        "auroc",
    ),
    OfAnalysis(
        "Agreement and speculative decoding",
        "A point is a problem. Below the dashed line speculative decoding is slower than the LLM "
        "alone.",
        speculation.scatter,
        "speculation",
    ),
)
