"""`rstitch chat`: a conversation with a pair, on a terminal or line by line from a pipe.

Answers go to stdout, all else to stderr. Each turn gives the pair all that was said before; what
both sides have cached of it is not read again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rstitch.cli import options
from rstitch.cli.conversation import Conversation
from rstitch.cli.groups import grouped
from rstitch.cli.shown import show, summary
from rstitch.errors import BadRequest, RStitchError

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.stream import Answer
    from rstitch.types import Sampling

BUILT_IN = (
    "The built-in pair knows short word problems and no others, each as the first question: /reset "
    "before the next. Another pair: --pair, or --slm and --llm. /help for more."
)
OTHERS = "tau is {tau:g}. /help for commands, Ctrl-D to leave."
HELP = """/tau 0.05    the threshold from now on; /tau alone says what it is
/save FILE   keep the conversation, for --resume FILE
/reset       begin anew
/quit        leave, as Ctrl-D does; Ctrl-C stops an answer"""


@grouped
def chat(
    opening: options.Opening,
    tuning: options.Tuning,
    drawing: options.Drawing,
    tau: options.Tau = None,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most.")] = 2048,
    system: Annotated[str | None, typer.Option(help="What the pair is told beforehand.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with what /save has kept.")] = None,
) -> None:
    """Talk with a pair, turn by turn; a line of a pipe is a turn."""
    threshold, chosen = options.threshold(tau), drawing.settings()
    options.at_least(1, max_tokens=max_tokens)
    if system is not None and resume is not None:
        raise BadRequest("--resume brings what the pair was told; leave out --system")
    told = [] if system is None else [{"role": "system", "content": system}]
    conversation = Conversation(told) if resume is None else Conversation.read(resume)
    with opening.open(max_rows=1, idle_rows=1, **tuning.settings()) as stitch:
        sampling = replace(stitch.defaults.sampling, **chosen)
        one = Chat(stitch, conversation, sampling, max_tokens)
        if threshold is not None:
            one.tau = stitch.normalised(threshold)
        builtin = opening.pair.startswith("builtin") and (opening.slm, opening.llm) == (None, None)
        one.tell(BUILT_IN if builtin else OTHERS.format(tau=one.tau))
        options.tell_tau(stitch, threshold)
        if line := stitch.defaults.sampling_line(**chosen):
            one.tell(line)
        for line in lines():
            if not one.take(line.strip()):
                return


class Chat:
    """One conversation with a pair, and what is done with a line of it."""

    def __init__(
        self, stitch: Stitch, conversation: Conversation, sampling: Sampling, max_tokens: int
    ) -> None:
        self.stitch, self.conversation = stitch, conversation
        self.sampling, self.max_tokens = sampling, max_tokens
        self.tau = stitch.tau
        self.watched = sys.stdin.isatty()
        """Somebody types: a line that fails is told, and the next one is waited for."""

    def tell(self, text: str) -> None:
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        console.print(text, style="dim", markup=False, soft_wrap=True)

    def take(self, line: str) -> bool:
        """Answer a line, or do what it says. False: that was the last one."""
        try:
            if line.startswith("/"):
                return self._command(*line.partition(" ")[::2])
            if line:
                self._ask(line)
        except RStitchError as error:
            if not self.watched:
                raise
            self.tell(f"rstitch: {error}")
        return True

    def _command(self, name: str, rest: str) -> bool:
        if name == "/tau":
            self._set_tau(rest.strip())
        elif name == "/save" and rest.strip():
            self.conversation.save(Path(rest.strip()).expanduser())
            self.tell(f"{len(self.conversation.messages)} messages kept in {rest.strip()}")
        elif name == "/reset":
            self.conversation.reset()
        elif name == "/help":
            self.tell(HELP)
        elif name == "/quit":
            return False
        else:
            raise BadRequest(f"{name} is no command, or lacks a value; /help lists them")
        return True

    def _set_tau(self, text: str) -> None:
        given = options.threshold(text or None, "/tau")
        if given is not None:
            self.tau = self.stitch.normalised(given)
        self.tell(f"tau is {self.tau:g}")

    def _ask(self, text: str) -> None:
        answer = self._answer(text)
        self.tell(summary(answer.usage, answer.trace.forwards))
        said = answer.reasoned.answer.strip()
        if said:
            self.conversation.add(text, said)
            return
        remedy = "" if answer.reason == "cancelled" else "; raise --max-tokens"
        self.tell(f"there was no answer yet, so the question is forgotten{remedy}")

    def _answer(self, text: str) -> Answer:
        """Shown as it is written. Ctrl-C ends it, and the chat too where nobody types."""
        stream = self.stitch.stream(
            self.conversation.question(text),
            tau=self.tau,
            sampling=self.sampling,
            max_tokens=self.max_tokens,
            reuse="chat",
        )
        try:
            show(stream)
        except KeyboardInterrupt:
            if not self.watched:
                raise
            typer.echo("", err=True)
        finally:
            stream.close()
        return stream.result()


def lines() -> Iterator[str]:
    """What is typed until Ctrl-D, or what a pipe brings."""
    if not sys.stdin.isatty():
        try:
            yield from sys.stdin
        except UnicodeDecodeError:
            raise BadRequest("what stdin brings is not UTF-8 text") from None
        return
    with suppress(ImportError):
        import_module("readline")  # arrow keys and history for `input`
    while True:
        try:
            yield input("> " if sys.stdout.isatty() else "")
        except EOFError:
            typer.echo("", err=True)
            return
        except KeyboardInterrupt:
            typer.echo(" (Ctrl-D leaves)", err=True)
