"""What a router is shown at its decisions, read again from finished answers: hidden states.

They are not kept while answers are written. The SLM reads a finished answer in one pass, and what
it makes of every prefix is what it made of it while writing (catch-up equals full recompute).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.runner import Extend
from rstitch.evals.recording.scored import partner
from rstitch.interrupt import held_interrupt
from rstitch.policy import make
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

PASS_TOKENS = 1024
"""Fed in one pass; logits of as many are in memory at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Decisions, one per row, in the order in which they were asked for."""

    hidden: Tensor
    """float32 (decisions, width)."""
    entropy: Tensor
    """float32 (decisions,)."""
    context: Tensor
    """float32 (decisions,): tokens that the SLM knew."""
    margin: Tensor
    """float32 (decisions,): likeliest probability less the second's; for comparison only."""

    def __len__(self) -> int:
        return len(self.entropy)

    def at(self, rows: Tensor) -> Seen:
        return Seen(self.hidden[rows], self.entropy[rows], self.context[rows], self.margin[rows])


@dataclass(frozen=True, slots=True)
class Places:
    """One answer, as the LLM's ids, and positions in it."""

    text: str
    """The question."""
    tokens: Sequence[int]
    positions: Sequence[int]


def see(stitch: Stitch, answers: Iterable[Places]) -> Seen:
    """Of every position of every answer, in order. Nothing may be in flight."""
    parts: list[Seen] = []
    batch: list[tuple[list[int], int, Sequence[int]]] = []
    for one in answers:
        if not one.positions:
            continue
        prompt = stitch.prompts(one.text, policy=make("slm"))[Side.SLM]
        own = [partner(stitch, Side.SLM, t, Side.LLM) for t in one.tokens[: max(one.positions)]]
        assert None not in own, "the SLM has read these tokens"
        fed = [*prompt, *(token for token in own if token is not None)]
        if batch and sum(len(ids) for ids, _, _ in batch) + len(fed) > PASS_TOKENS:
            parts.append(_read(stitch, batch))
            batch = []
        batch.append((fed, len(prompt), one.positions))
    if batch:
        parts.append(_read(stitch, batch))
    if not parts:
        return Seen(torch.empty(0, 0), *(torch.empty(0) for _ in range(3)))
    return Seen(
        torch.cat([p.hidden for p in parts]), torch.cat([p.entropy for p in parts]),
        torch.cat([p.context for p in parts]), torch.cat([p.margin for p in parts]),
    )  # fmt: skip


def _read(stitch: Stitch, batch: Sequence[tuple[list[int], int, Sequence[int]]]) -> Seen:
    stitch.in_process.forget()
    runner = stitch.in_process.runners[Side.SLM]
    rows: list[int] = []
    with held_interrupt(), torch.inference_mode():
        try:
            rows += [runner.open() for _ in batch]
            fed = [Extend(row, ids) for row, (ids, _, _) in zip(rows, batch, strict=True)]
            counts = [len(ids) - start + 1 for ids, start, _ in batch]
            logits, hidden = runner.extend_hidden(fed, counts)
            at, first = [], 0
            for count, (_, _, positions) in zip(counts, batch, strict=True):
                at += [first + position for position in positions]
                first += count
            wanted = torch.tensor(at, device=logits.device)
            logp = sampling.log_probs(logits[wanted], runner.vocab_size)
            top = logp.topk(2, dim=-1).values.exp()
            lengths = [float(start + p) for _, start, positions in batch for p in positions]
            return Seen(
                hidden[wanted].float().cpu().clone(), sampling.entropy(logp).cpu(),
                torch.tensor(lengths), (top[:, 0] - top[:, 1]).cpu(),
            )  # fmt: skip
        finally:
            for row in rows:
                runner.free(row)
