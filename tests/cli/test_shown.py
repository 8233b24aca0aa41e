"""What an answer looks like: where its pieces go, in colour or not, and the line after it."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

import pytest

from rstitch.api import Piece
from rstitch.cli.shown import show, summary
from rstitch.types import Forward, Side, Usage
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, TAU, pair, stitch

PROMPT = "Mia has"


class FakeStream:
    """Pieces of the size asked for."""

    def __init__(self, text: str, size: int, starts_thinking: bool = True) -> None:
        self.starts_thinking = starts_thinking
        self.pieces = [Piece(text[i : i + size], None) for i in range(0, len(text), size)]

    def __iter__(self) -> Any:
        return iter(self.pieces)


def shown(stream: FakeStream, quiet: bool = False) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        show(stream, quiet)  # type: ignore[arg-type]
    return out.getvalue(), err.getvalue()


SIZES = [1, 2, 5, 7, 1000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("text", "starts_thinking", "answer", "reasoning"),
    [
        ("so 7 < 8\n</think>\n\nIt is\n 7.", True, "It is\n 7.", "so 7 < 8\n</think>"),
        (" \n It is 7. \n", False, "It is 7. \n", ""),
        ("so 7\n", True, "", "so 7\n"),
        ("so 7", True, "", "so 7"),
        ("so 7 </thin", True, "", "so 7 </thin"),
        ("It is <b>7</b>", False, "It is <b>7</b>", ""),
        ("It is <thin", False, "It is <thin", ""),
        ("<think>so</think>7", False, "7", "<think>so</think>"),
        ("a</think>b<think>c</think>d", True, "bd", "a</think><think>c</think>"),
        ("one\ttab, [bold]no markup[/] \x07\r\n\x0b", False, "", None),
    ],
)
def test_pieces_go_to_the_output_they_belong_to(
    text: str, starts_thinking: bool, answer: str, reasoning: str | None, size: int
) -> None:
    """However the text is cut; and off the terminal it is not changed by a character, but that what
    leads to the answer goes and lines end."""
    expected = (text, "") if reasoning is None else (answer, reasoning)
    out, err = shown(FakeStream(text, size, starts_thinking))
    ends = "\n" if expected[1] and not expected[1].endswith("\n") else ""
    assert (out, err) == (expected[0] + "\n", expected[1] + ends)


def test_quiet_prints_nothing() -> None:
    assert shown(FakeStream("so</think>7", 3), quiet=True) == ("", "")


def test_colours_on_a_terminal_only() -> None:
    answer = stitch().generate(PROMPT, raw=True, max_tokens=5)
    kept = [p for p in answer.trace.proposals if p.keep]
    stream = FakeStream("", 1, starts_thinking=False)
    stream.pieces = [Piece("word ", proposal) for proposal in kept]
    assert shown(stream) == ("word " * 5 + "\n", "")
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with patch.dict(os.environ, terminal):
        os.environ.pop("NO_COLOR", None)
        out, err = shown(stream)
    assert out.count("\x1b[") >= 5 and out.count("word ") == 5 and err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_feed_ends_both() -> None:
    """Both outputs are the same screen there, so a second would leave a blank line."""
    stream, screen = FakeStream("so</think>7", 3), Terminal()
    with (
        patch.object(sys, "stdout", screen),
        patch.object(sys, "stderr", screen),
        patch.dict(os.environ, {"TERM": "dumb", "NO_COLOR": "1"}),
    ):
        show(stream)  # type: ignore[arg-type]
    assert screen.getvalue() == "so</think>7\n"


# -- the last line --------------------------------------------------------------------------------


def test_the_last_line_is_a_line_of_its_own() -> None:
    """The reasoning before it may end without a line feed."""
    options = [*pair().options, "--tau", str(TAU), "--max-tokens", "9"]
    done = rstitch("generate", QUESTION, *options)
    answer = stitch().generate(QUESTION, max_tokens=9)
    assert not answer.text.endswith("\n")
    *_, last = done.err.splitlines()
    assert last.startswith(f"[{answer.usage.slm_tokens} tokens SLM, ") and last.endswith("]")
    assert done.err.startswith(answer.text + "\n[")


def test_the_last_line_says_what_the_llm_alone_would_take() -> None:
    usage = Usage(5, 8, 2, 1, 2, 3, 0.5)
    fed = [Forward(Side.LLM, 1, n, 9, n, s) for n, s in ((5, 9.0), (1, 0.25), (1, 0.3))]
    said = summary(usage, fed)
    assert "LLM alone, same tokens: ~2.5 s (predicted)]" in said
    assert summary(usage).endswith("; LLM alone: not measured]")
    assert summary(usage, fed[:1]).endswith("; LLM alone: not measured]")
