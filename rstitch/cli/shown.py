"""An answer as a person reads it: the answer on stdout, the thinking on stderr, then one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rstitch.text import Phase, ReasoningStream
from rstitch.types import Forward, Proposal, Usage, llm_alone_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from rstitch.stream import Stream


def show(stream: Stream, quiet: bool = False) -> None:
    """Print pieces as they come: reasoning to stderr, answer to stdout.

    Coloured on a terminal; elsewhere the text and nothing but the text, without the blank lines
    that lead to the answer. Both end their line.
    """
    first = Phase.REASONING if stream.starts_thinking else Phase.ANSWER
    phases = ReasoningStream(first, include_marks=True)
    outputs = _Outputs()
    for piece in stream:
        if piece.text and not quiet:
            for phase, text in phases.push(piece.text):
                outputs.put(phase, text, piece.proposal)
    if not quiet:
        for phase, text in phases.finish():
            outputs.put(phase, text, None)
        outputs.end()


class _Outputs:
    """The two consoles, and where in a line they are."""

    def __init__(self) -> None:
        from rich.console import Console

        self.consoles: dict[Phase, Console] = {
            Phase.ANSWER: Console(highlight=False),
            Phase.REASONING: Console(stderr=True, highlight=False),
        }
        self.last: dict[Phase, str] = dict.fromkeys(Phase, "")
        """What was printed last on each."""

    def put(self, phase: Phase, text: str, proposal: Proposal | None) -> None:
        from rich.text import Text

        from rstitch.report.colour import style

        if phase is Phase.ANSWER and not self.last[phase]:
            text = text.lstrip()
        if not text:
            return
        self.last[phase], console = text, self.consoles[phase]
        if console.is_terminal:
            shown = Text(text, style(proposal) if proposal else "")
            console.print(shown, end="", soft_wrap=True)
        else:
            print(text, end="", file=console.file, flush=True)

    def end(self) -> None:
        """On a terminal the answer's line feed ends the reasoning's line too."""
        together = all(console.is_terminal for console in self.consoles.values())
        reasoning = self.last[Phase.REASONING]
        if reasoning and not reasoning.endswith("\n") and not together:
            print(file=sys.stderr, flush=True)
        print(flush=True)


def summary(usage: Usage, forwards: Sequence[Forward] = ()) -> str:
    """The last line of an answer: tokens per side, hand-offs, seconds, and the LLM's prediction."""
    alone = llm_alone_seconds(usage, forwards)
    told = "LLM alone: not measured"
    if alone is not None:
        told = f"LLM alone, same tokens: ~{alone:.2g} s (predicted)"
    reused = ""
    if usage.cached_tokens:
        found = f"{usage.slm_cached_tokens} SLM, {usage.llm_cached_tokens} LLM"
        reused = f"; prompt tokens reused: {found}"
    rate = usage.tokens / usage.seconds if usage.seconds else 0.0
    return (
        f"[{usage.slm_tokens} tokens SLM, {usage.llm_tokens} LLM ({usage.llm_share:.0%}), "
        f"{usage.handoffs} hand-offs, {usage.seconds:.2f} s, {rate:.0f} tokens/s"
        f"; {told}{reused}]"
    )
