"""What crosses the pipe. Events go as plain values: there are thousands a second, and to pickle a
dataclass costs ten times as much as a tuple of what is in it. Nothing else is that frequent.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rstitch import errors
from rstitch.errors import RStitchError
from rstitch.places import Elsewhere, places
from rstitch.types import Event, Failed, Finished, Forward, Proposal, Side, Token

Plain = tuple[Any, ...]
Told = tuple[Exception, tuple[str, ...]]
"""An error as it can cross, and the places at which it was raised."""
SIDES = tuple(Side)
"""`Side(number)` takes ten times as long."""
SHORT = 10
"""Values of most tokens; others have five more."""
OURS = (builtins, errors)
"""Modules whose exceptions arrive as what they are, if their message is all that is in them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a side here, where it does not run."""

    vocab_size: int
    """Tokens that the tokenizer really has."""
    max_length: int
    """Tokens that its context holds."""
    token_bytes: int
    """KV memory of one token."""
    limit: int
    """Tokens that a row may hold."""
    bytes: int
    """Of KV memory."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the engine is, as it said last."""

    stats: dict[str, Any]
    """As `Engine.stats`."""
    seconds: Mapping[Side, Sequence[float]]
    """As `Engine.seconds`, for one row, two, and so on."""
    reading: Mapping[Side, float]
    """As `Engine.reading`."""


def packed(event: Event) -> Plain:
    if isinstance(event, Token):
        return _token(event)
    passes = tuple(_pass(one) for one in event.forwards)
    if isinstance(event, Finished):
        return event.request, event.reason, event.usage, event.text, passes
    return event.request, told(event.error), passes


def unpacked(plain: Plain) -> Event:
    if len(plain) >= SHORT:
        return _read_token(*plain)
    *head, passes = plain
    forwards = tuple(Forward(SIDES[side], *rest) for side, *rest in passes)
    if len(head) == 2:
        name, (error, cause) = head
        return Failed(name, caused(error, cause), forwards)
    name, reason, usage, text = head
    return Finished(name, reason, usage, text, forwards)


def _token(event: Token) -> Plain:
    one = event.proposal
    short = (
        event.request, event.text, event.seconds, one.position, one.token, int(one.side), one.keep,
        int(one.next_side), one.entropy, one.logprob,
    )  # fmt: skip
    if one.signals or one.top_logprobs or one.span or one.back or one.taken_back:
        return *short, one.signals, one.top_logprobs, one.span, one.back, one.taken_back
    return short


def _read_token(
    request: str, text: str, seconds: float, position: int, token: int, side: int, keep: bool,
    next_side: int, entropy: float, logprob: float, *rest: Any,
) -> Token:  # fmt: skip
    proposal = Proposal(
        position, token, SIDES[side], keep, SIDES[next_side], entropy, logprob, *(rest or ({},))
    )
    return Token(request, proposal, text, seconds)


def _pass(one: Forward) -> Plain:
    return int(one.side), one.rows, one.new_tokens, one.context, one.batch_tokens, one.seconds


def told(error: Exception) -> Told:
    kind, where = type(error), tuple(places(error))
    own = any(getattr(one, kind.__name__, None) is kind for one in OURS)
    if own and error.args == (str(error),):
        return kind(*error.args), where
    return RuntimeError(f"{kind.__name__}: {error}"), where


def caused(error: Exception, where: tuple[str, ...]) -> Exception:
    """With the places as its cause, for a log; users' own errors need none."""
    if not isinstance(error, RStitchError):
        error.__cause__ = Elsewhere(where)
    return error
