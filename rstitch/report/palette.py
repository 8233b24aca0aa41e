"""The colours of pages and pictures, by what they mean. Hues of the sides are the terminal's."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch.report.colour import BRIGHT, Colour
from rstitch.types import Side


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


@dataclass(frozen=True, slots=True)
class Shade:
    """One meaning on a light and on a dark page; both at least 4.5 to 1 as text."""

    light: str
    dark: str


PALETTE: dict[str, Shade] = {
    "page": Shade("#ffffff", "#14171b"),
    "panel": Shade("#f6f7f8", "#1c2026"),
    "ink": Shade("#1a1d21", "#e8eaed"),
    "soft": Shade("#5b636d", "#a3abb5"),
    "rule": Shade("#dde0e4", "#343a42"),
    "slm": Shade("#007a86", _hex(BRIGHT[Side.SLM])),
    "llm": Shade("#b35600", _hex(BRIGHT[Side.LLM])),
    "ours": Shade("#4a3fc4", "#a8a1ff"),
    "rival": Shade("#3f6d2e", "#9ed081"),
    "control": Shade("#68707a", "#9aa3ad"),
    "bad": Shade("#b3202c", "#ff8f96"),
    "good": Shade("#1f7a3d", "#7fd79b"),
}
"""As text the terminal's hues are a little too pale on white, so the light ones are darker."""


def css() -> str:
    """Custom properties of both modes."""
    light = "".join(f"--{name}:{shade.light};" for name, shade in PALETTE.items())
    dark = "".join(f"--{name}:{shade.dark};" for name, shade in PALETTE.items())
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
