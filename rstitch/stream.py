"""One answer being written, and what it is in the end: what `generate` and `stream` return."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rstitch.driver import Driver
from rstitch.errors import BadRequest
from rstitch.prompts import starts_thinking
from rstitch.text import Reasoned, Tokenizer, split_reasoning
from rstitch.trace import Trace
from rstitch.types import Event, Failed, Finished, Proposal, Side, Token, Usage

UNSEEN = 0.05
"""Seconds of quick steps taken at once where nobody sees the pieces come; Ctrl-C waits as long."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One proposal of a stream; `proposal.keep` tells whether it became part of the answer."""

    text: str
    proposal: Proposal | None
    """None for what a last piece brings: text that was held back until the end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer."""

    text: str
    """Everything after the prompt, reasoning included."""
    starts_thinking: bool
    """The text begins inside a <think> block that the prompt opened."""
    reason: str
    """"stop", "length" or "cancelled"."""
    usage: Usage
    trace: Trace

    @property
    def reasoned(self) -> Reasoned:
        """The text split into reasoning and answer, for models that think in <think> blocks."""
        return split_reasoning(self.text, started_inside=self.starts_thinking)


class Stream(Iterator[Piece]):
    """One answer being written. `trace` holds what there is so far, at any time.

    Closing it, or letting go of it, cancels the answer.
    """

    def __init__(self, driver: Driver, decoders: Mapping[Side, Tokenizer], trace: Trace) -> None:
        """Of an answer that the driver has opened. decoders: of each side's ids."""
        self._driver, self._decoders = driver, decoders
        self._name = trace.id
        weakref.finalize(self, driver.abandon, self._name).atexit = False
        self._finished: Finished | None = None
        self._error: Exception | None = None
        self._open = True
        self._reading = threading.Lock()
        self.trace = trace

    def __next__(self) -> Piece:
        event = self._advance()
        if isinstance(event, Token):
            return Piece(event.text, event.proposal)
        if isinstance(event, Failed):
            raise event.error
        if event is not None and event.text:
            return Piece(event.text, None)
        raise StopIteration

    def _advance(self, burst: float | None = None) -> Event | None:
        """Take the next event, one thread at a time; None where there is none any more."""
        with self._reading:
            if not self._open:
                return None
            event = self._driver.next(self._name, burst)
            self.trace.take(event)
            if isinstance(event, Failed):
                self._error = event.error
            elif isinstance(event, Finished):
                self._finished = event
            self._open = isinstance(event, Token)
            return event

    @property
    def starts_thinking(self) -> bool:
        """The prompt already opened the <think> block, as reasoning models' templates do."""
        return starts_thinking(self._decoders, self.trace.prompts)

    def result(self) -> Answer:
        """Run to the end and return the whole answer."""
        while self._open:
            self._advance(UNSEEN)
        if self._error is not None:
            raise self._error
        if self._finished is None:
            raise BadRequest("the stream was closed before its end; there is no whole answer")
        text = "".join(self.trace.texts)
        end = self._finished
        return Answer(text, self.starts_thinking, end.reason, end.usage, self.trace)

    def close(self) -> None:
        """Cancel the answer if it is not finished; its trace so far stays, with its end.

        From any thread. An error that ends the answer meanwhile is not raised here; `result` does.
        """
        if self._open:
            self._driver.cancel(self._name)
        while self._open:  # the pass in progress may still bring a token, then the end
            self._advance()
