"""Coloured traces: the hue says who, the shade how unsure, and everything stays readable."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from rstitch.report import colour
from rstitch.trace import Trace
from rstitch.types import Proposal, Sampling, Side

ENTROPIES = [0.0, colour.SURE, 0.02, 0.1, colour.UNSURE, 0.6, 1.0]


def proposal(side: Side = Side.SLM, entropy: float = 0.0, keep: bool = True) -> Proposal:
    return Proposal(0, 7, side, keep, side if keep else side.other, entropy, -0.5, {})


def luminance(shown: Color | None) -> float:
    """Relative luminance as WCAG 2 defines it."""
    assert shown is not None and shown.triplet is not None
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in shown.triplet)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def spans(text: Text) -> list[tuple[str, Style]]:
    found = []
    for span in text.spans:
        assert isinstance(span.style, Style)
        found.append((text.plain[span.start : span.end], span.style))
    return found


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


# -- style ----------------------------------------------------------------------------------------


def test_the_sides_differ_in_hue_and_weight() -> None:
    for entropy in ENTROPIES:
        slm, llm = (colour.style(proposal(side, entropy)) for side in Side)
        assert slm.color != llm.color
        assert not slm.bold and llm.bold
        assert slm.bgcolor == llm.bgcolor


def test_only_discarded_tokens_are_struck_out() -> None:
    assert not colour.style(proposal()).strike
    assert colour.style(proposal(keep=False)).strike


def test_a_sure_token_has_no_shade() -> None:
    assert colour.style(proposal(entropy=0.0)).bgcolor is None
    assert colour.style(proposal(entropy=colour.SURE)).bgcolor is None
    assert colour.style(proposal(entropy=colour.SURE + 1e-6)).bgcolor is not None


@given(st.floats(0, 1), st.floats(0, 1))
def test_less_sure_is_never_less_red(a: float, b: float) -> None:
    reds = []
    for entropy in sorted((a, b)):
        shade = colour.style(proposal(entropy=entropy)).bgcolor
        reds.append(shade.triplet.red if shade and shade.triplet else 0)
    assert reds == sorted(reds)


def test_the_shade_is_full_from_unsure_on() -> None:
    full = colour.style(proposal(entropy=colour.UNSURE)).bgcolor
    assert colour.style(proposal(entropy=1.0)).bgcolor == full
    assert colour.style(proposal(entropy=colour.UNSURE / 2)).bgcolor != full


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("entropy", ENTROPIES)
def test_text_is_readable_on_black_on_white_and_on_its_shade(side: Side, entropy: float) -> None:
    """WCAG asks for 3:1 of large text; the first colours had 2.3:1 on white."""
    style = colour.style(proposal(side, entropy))
    behind = [0.0, 1.0] if style.bgcolor is None else [luminance(style.bgcolor)]
    assert all(contrast(luminance(style.color), b) >= 3 for b in behind)


# -- legend and whole answers ---------------------------------------------------------------------


def test_the_legend_shows_the_styles_it_explains() -> None:
    legend = colour.legend()
    assert legend.plain == "SLM  LLM   a little unsure  unsure "
    styles = {text.strip(): style for text, style in spans(legend)}
    for side in Side:
        expected = colour.style(proposal(side))
        assert styles[side.name].color == expected.color
        assert styles[side.name].bold == expected.bold
    for name, entropy in (("a little unsure", colour.SURE + 1e-9), ("unsure", 1.0)):
        assert styles[name].bgcolor == colour.style(proposal(entropy=entropy)).bgcolor


def answer() -> Trace:
    """Seven, then a dropped token that the LLM replaces."""
    trace = Trace("r0", {}, Sampling(), {})
    trace.proposals = [proposal(), proposal(entropy=0.5, keep=False), proposal(Side.LLM, 0.1)]
    trace.texts = ["seven ", "", "apples"]
    return trace


def test_a_coloured_answer_is_its_text() -> None:
    trace, styles = answer(), [colour.style(p) for p in answer().proposals]
    text = colour.coloured(trace)
    assert text.plain == "seven apples"
    assert spans(text) == [("seven ", styles[0]), ("apples", styles[2])]


def test_discarded_tokens_are_shown_where_their_text_is_given() -> None:
    trace, styles = answer(), [colour.style(p) for p in answer().proposals]
    text = colour.coloured(trace, ["pears"])
    assert spans(text) == [("seven ", styles[0]), ("pears", styles[1]), ("apples", styles[2])]


def printed(text: Text, colours: bool) -> str:
    file = io.StringIO()
    system = "truecolor" if colours else None
    console = Console(file=file, force_terminal=colours, color_system=system, width=20)
    console.print(text, soft_wrap=True)
    return file.getvalue()


def test_nothing_but_text_where_there_is_no_terminal() -> None:
    trace = answer()
    trace.texts = ["[bold]seven[/] ", "", "apples\n" * 3]  # no markup of rich's own, no wrapping
    assert printed(colour.coloured(trace), colours=False) == "".join(trace.texts) + "\n"
    assert "\x1b[9;" in printed(colour.coloured(trace, ["pears"]), colours=True)  # struck out
