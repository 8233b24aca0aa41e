"""One answer of a reply while it is written: text told apart, tokens kept where asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rstitch.text import Phase, ReasoningStream
from rstitch.types import Event, Failed, Finished, FinishReason, Side, Token, Usage


@dataclass(slots=True)
class Part:
    """What came since the last part was taken."""

    text: str = ""
    """All of it, as the models wrote it."""
    reasoning: str = ""
    content: str = ""
    tokens: list[Token] = field(default_factory=list)
    """Discarded ones too, where tokens are wanted."""


@dataclass(slots=True)
class Choice:
    """`add` events, `take` what they amount to; the same whether taken once or often."""

    index: int
    ends: Mapping[Side, frozenset[int]]
    """End-of-text tokens, which are no part of any text."""
    phases: ReasoningStream
    keeps_tokens: bool = False
    usage: Usage | None = None
    reason: FinishReason | None = None
    error: Exception | None = None
    first: float | None = None
    """Seconds of its first token, since the engine got it."""
    reasoning_tokens: int = 0
    _kept: list[int] = field(default_factory=lambda: [0, 0])
    """Tokens of the answer so far, by side."""
    _said: list[str] = field(default_factory=list)
    _part: Part = field(default_factory=Part)
    _thought: bool = False
    """There was reasoning, so the blank lines that follow it are not the answer's."""

    def add(self, event: Event) -> None:
        if isinstance(event, Token):
            self._token(event)
        elif isinstance(event, Finished):
            self._text(event.text)
            self._phases(self.phases.finish())
            self.usage, self.reason = event.usage, event.reason
        else:
            assert isinstance(event, Failed)
            self.error = event.error

    @property
    def sides(self) -> tuple[int, int]:
        """Tokens of the SLM and of the LLM."""
        slm, llm = self._kept
        return slm, llm

    @property
    def kept(self) -> int:
        return sum(self._kept)

    @property
    def said(self) -> str:
        """The answer so far, without what was thought."""
        return "".join(self._said)

    @property
    def ended(self) -> bool:
        return self.reason is not None or self.error is not None

    def take(self) -> Part:
        part, self._part = self._part, Part()
        return part

    def is_end(self, event: Token) -> bool:
        """It is an end-of-text token."""
        return event.proposal.token in self.ends[event.proposal.side]

    def _token(self, event: Token) -> None:
        if self.keeps_tokens:
            self._part.tokens.append(event)
        if not event.proposal.keep:
            return
        self._kept[event.proposal.side] += 1
        if self.first is None:
            self.first = event.seconds
        before = self.phases.phase
        if event.text:
            self._text(event.text)
        if Phase.REASONING in (before, self.phases.phase) and not self.is_end(event):
            self.reasoning_tokens += 1

    def _text(self, text: str) -> None:
        self._part.text += text
        self._phases(self.phases.push(text))

    def _phases(self, parts: list[tuple[Phase, str]]) -> None:
        for phase, text in parts:
            if phase is Phase.REASONING:
                self._thought = True
                self._part.reasoning += text
                continue
            if self._thought:
                text = text.lstrip()
                self._thought = not text
            self._part.content += text
            self._said.append(text)
