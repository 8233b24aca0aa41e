"""Events as plain values, since there are thousands a second: a dataclass costs ten times as much to
pickle as a tuple of what is in it."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

from rstitch.types import Event, Failed, Finished, Forward, Proposal, Side, Token

Plain = tuple[Any, ...]

SIDES = tuple(Side)


def packed(event: Event) -> Plain:
    if isinstance(event, Token):
        p = event.proposal
        head = (event.request, event.text, event.seconds, p.position, p.token, int(p.side), p.keep,
                int(p.next_side), p.entropy, p.logprob)
        if not (p.signals or p.top_logprobs or p.span or p.back or p.taken_back):
            return head
        return (*head, p.signals, p.top_logprobs, p.span, p.back, p.taken_back)
    forwards = tuple((int(f.side), f.rows, f.new_tokens, f.context, f.batch_tokens, f.seconds) for f in event.forwards)
    if isinstance(event, Finished):
        return (event.request, event.reason, event.usage, event.text, forwards)
    return (event.request, event.error, forwards)


def unpacked(plain: Plain) -> Event:
    if len(plain) >= 10:
        request, text, seconds, position, token, side, keep, next_side, entropy, logprob, *rest = plain
        proposal = Proposal(position, token, SIDES[side], keep, SIDES[next_side], entropy, logprob, *(rest or ({},)))
        return Token(request, proposal, text, seconds)
    *rest, forwards = plain
    passes = tuple(Forward(SIDES[side], *others) for side, *others in forwards)
    if len(plain) == 5:
        return Finished(*rest, passes)
    return Failed(*rest, passes)
