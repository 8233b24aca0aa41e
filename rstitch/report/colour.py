"""A trace as coloured text: the hue says who wrote a token, the shade how unsure that model was."""

from __future__ import annotations

from collections.abc import Iterable

from rich.style import Style
from rich.text import Text

from rstitch.trace import Trace
from rstitch.types import Proposal, Side

Colour = tuple[int, int, int]

HUE: dict[Side, Colour] = {Side.SLM: (0, 143, 157), Side.LLM: (208, 100, 0)}
"""Readable on white and on black: no terminal says which it is."""
BRIGHT: dict[Side, Colour] = {Side.SLM: (120, 215, 225), Side.LLM: (255, 190, 100)}
"""The same hues on a shade."""
SHADE: tuple[Colour, Colour] = ((64, 12, 20), (140, 24, 36))
"""Least and most unsure."""
SURE, UNSURE = 0.0125, 0.25
"""Normalised entropy up to which there is no shade, and from which it is full."""


def style(proposal: Proposal) -> Style:
    """Foreground by side; background redder with entropy; discarded tokens struck out."""
    shaded = proposal.entropy > SURE
    return Style(
        color=_rgb((BRIGHT if shaded else HUE)[proposal.side]),
        bgcolor=_shade(proposal.entropy) if shaded else None,
        bold=proposal.side is Side.LLM,
        strike=not proposal.keep,
    )


def legend() -> Text:
    slm, llm = (Style(color=_rgb(HUE[side]), bold=side is Side.LLM) for side in Side)
    little, much = (Style(color="white", bgcolor=_shade(h)) for h in (SURE, UNSURE))
    return Text.assemble(
        ("SLM", slm), "  ", ("LLM", llm), "  ", (" a little unsure ", little), (" unsure ", much)
    )


def _shade(entropy: float) -> str:
    heat = min(max(entropy - SURE, 0.0) / (UNSURE - SURE), 1.0)
    red, green, blue = (round(a + (b - a) * heat) for a, b in zip(*SHADE, strict=True))
    return _rgb((red, green, blue))


def _rgb(colour: Colour) -> str:
    red, green, blue = colour
    return f"rgb({red},{green},{blue})"


def coloured(trace: Trace, discarded: Iterable[str] = ()) -> Text:
    """The whole answer. `discarded` gives the text of each dropped proposal, in order, to show."""
    text, dropped = Text(), iter(discarded)
    for proposal, piece in zip(trace.proposals, trace.texts, strict=True):
        shown = piece if proposal.keep else next(dropped, "")
        text.append(shown, style(proposal))
    return text
