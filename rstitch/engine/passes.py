"""One forward pass of one side, with the logits that its rows need: usually one each.

The LLM's rows whose policy rewinds need those of the SLM's tokens too; that is settled here, so
that what comes back is one distribution per row whose side has now seen everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from torch import Tensor

from rstitch.engine import span
from rstitch.engine.runner import Extend, Runner
from rstitch.engine.sequence import Sequence
from rstitch.engine.signals import asked as reads_of
from rstitch.engine.signals import hidden_wanted
from rstitch.types import Side

Pass = tuple[list[Sequence], Tensor, Tensor | None]
"""Rows that have seen everything, their logits (rows, columns), and hidden states if asked for."""


def extend(
    runners: Mapping[Side, Runner], side: Side, rows: list[Sequence], fed: list[Extend]
) -> Pass:
    """Feed the rows, score and judge their spans. A row that takes tokens back is cut here."""
    runner, reads = runners[side], reads_of(rows)
    if side is Side.LLM and "span" in reads:
        return _with_spans(runners, rows, fed, hidden_wanted(rows, side))
    hidden = None
    if "score" in reads and hidden_wanted(rows, side):
        logits, hidden = runner.extend_hidden(fed)
    else:
        logits = runner.extend(fed)
    cached = runner.cached
    done = [i for i, row in enumerate(rows) if cached(row.rows[side]) == row.length(side)]
    if len(done) == len(rows):
        return rows, logits, hidden
    return _pick(rows, logits, hidden, done, done)


def _with_spans(
    runners: Mapping[Side, Runner], rows: list[Sequence], fed: list[Extend], hide: bool
) -> Pass:
    """The LLM's pass: spans that are scored to their end are judged."""
    runner, hidden = runners[Side.LLM], None
    ends = [runner.cached(item.row) + len(item.tokens) for item in fed]
    counts = [max(1, end - span.first_wanted(row)) for row, end in zip(rows, ends, strict=True)]
    if hide:
        logits, hidden = runner.extend_hidden(fed, counts)
    else:
        logits = runner.extend(fed, counts)
    offsets = accumulate(counts, initial=0)
    at = [range(o, o + n) for o, n in zip(offsets, counts, strict=False)]
    first = [end - n for end, n in zip(ends, counts, strict=True)]
    span.score(logits, runner.vocab_size, rows, first, at)
    members, places = [], []
    for i, row in enumerate(rows):
        if ends[i] < row.length(Side.LLM):  # a chunk of a long prompt or span
            continue
        span.judge(row, runners)
        place = row.length(Side.LLM) - 1 - first[i]
        if place >= 0:  # else it lies in an earlier chunk, and its token is fed anew
            members.append(i)
            places.append(at[i][place])
    return _pick(rows, logits, hidden, members, places)


def _pick(
    rows: list[Sequence], logits: Tensor, hidden: Tensor | None, done: list[int], at: list[int]
) -> Pass:
    return [rows[i] for i in done], logits[at], None if hidden is None else hidden[at]
