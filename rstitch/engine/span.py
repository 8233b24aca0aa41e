"""Tokens that may still be taken back: the SLM's, from when the LLM was last asked.

The pass in which the LLM catches up over them scores each; then the policy says how many stay
(docs/algorithm.md, "Rewind"). Until then their events are held back, so that nobody above the
engine ever sees a token or a text that is not part of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.errors import BadPolicy
from rstitch.text import TextStream
from rstitch.types import Side, Token

if TYPE_CHECKING:
    from rstitch.engine.runner import Runner
    from rstitch.engine.sequence import Sequence

SCORED = 256
"""Tokens of one row scored in one pass; their logits are held at once, V numbers each."""


@dataclass(slots=True)
class Span:
    """The open span of one answer. Everything before `start` is there to stay."""

    start: int = 0
    """Position in the answer."""
    scores: list[float] = field(default_factory=list)
    """The LLM's log-probability of each token from `start` on, as far as it has read them."""
    back: int = 0
    """Tokens that the policy has taken back; the LLM's proposal for the first is still due."""
    judged: bool = False
    """The policy has spoken about this span."""
    held: list[tuple[Token, TextStream | None]] = field(default_factory=list)
    """Events that wait, each with the text stream as it was before."""

    def hold(self, event: Token, before: TextStream | None) -> None:
        self.held.append((event, before))

    def close(self, event: Token) -> list[Token]:
        """The LLM has been asked: what may now be said, its own proposal last."""
        events = [*self.release(), event]
        self.start = event.proposal.position + event.proposal.keep
        self.scores, self.back, self.judged = [], 0, False
        return events

    def release(self) -> list[Token]:
        """Everything held, in order; what was taken back is told as discarded."""
        events = [event for event, _ in self.held]
        kept = [i for i, event in enumerate(events) if event.proposal.keep]
        for i in kept[len(kept) - self.back :]:
            proposal = replace(events[i].proposal, keep=False, taken_back=True)
            events[i] = replace(events[i], proposal=proposal, text="")
        self.held.clear()
        return events

    def text_before(self, back: int) -> TextStream | None:
        """The text stream as it was before the last `back` kept tokens."""
        return [before for event, before in self.held if event.proposal.keep][-back]


def first_wanted(row: Sequence, side: Side = Side.LLM) -> int:
    """Index in the side's ids of the first token after which a distribution is wanted: the last
    one, or on the LLM the one before the first of the span that has no score yet."""
    last = row.length(side) - 1
    if row.span is None or row.span.judged or side is Side.SLM:
        return last
    return last - len(row.tokens) + row.span.start + len(row.span.scores)


def score(
    logits: Tensor, vocab_size: int, rows: Many[Sequence], first: Many[int], at: Many[range]
) -> None:
    """Add scores to the spans of rows whose tokens have just been read.

    Row i's logits are those in `at[i]`, the first of them after its token of index `first[i]`.
    """
    take: list[int] = []
    read: list[list[int]] = []
    for row, start, mine in zip(rows, first, at, strict=True):
        scored = row.span is not None and not row.span.judged and start == first_wanted(row)
        read.append(row.unseen(Side.LLM, start + 1, len(mine)) if scored else [])
        take += mine[: len(read[-1])]
    if not take:
        return
    index = torch.tensor(take, device=logits.device)
    logp = sampling.log_probs(logits[index], vocab_size)
    ids = torch.tensor([token for tokens in read for token in tokens], device=logits.device)
    scores = iter(logp.gather(1, ids[:, None])[:, 0].tolist())
    for row, tokens in zip(rows, read, strict=True):
        if row.span is not None:
            row.span.scores += islice(scores, len(tokens))


def _confirmed(row: Sequence, span: Span) -> int:
    stay = row.request.policy.confirm(tuple(span.scores)) if span.scores else 0
    if not 0 <= stay <= len(span.scores):
        raise BadPolicy(
            f"policy {row.request.policy.name!r}: confirm() says that {stay} of "
            f"{len(span.scores)} tokens stay"
        )
    return stay


def judge(row: Sequence, runners: Mapping[Side, Runner]) -> None:
    """Ask the policy about a span that is scored to its end, and cut what it takes back."""
    span = row.span
    if span is None or span.judged:
        return
    span.judged = True
    try:
        stay = _confirmed(row, span)
    except Exception as error:
        row.blame("confirm()", error)
        return
    span.back = len(span.scores) - stay
    if not span.back:
        return
    if row.text is not None:
        row.text = span.text_before(span.back)
    row.cut(span.start + stay)
    for side, handle in row.rows.items():
        runner = runners[side]
        runner.truncate(handle, min(runner.cached(handle), row.length(side)))
