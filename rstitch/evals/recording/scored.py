"""What both models make of every position of an answer, whoever wrote it: by teacher forcing.

The finished answer is fed to either model, by its own prompt and in its own ids, and the
distribution before each token is read as the gate reads it: raw logits, full softmax, float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.runner import Extend
from rstitch.interrupt import held_interrupt
from rstitch.policy import make
from rstitch.trace import Trace
from rstitch.types import Proposal, Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

LOGITS = 2**26
"""Logits in memory at once: 256 MB in float32."""
DIGITS = 6
"""Significant ones of what is kept: float32 has seven."""


@dataclass(frozen=True, slots=True)
class Read:
    """One side's distributions before each token of an answer."""

    entropy: list[float] = field(default_factory=list)
    """Normalised, 0 to 1."""
    logprob: list[float] = field(default_factory=list)
    """Natural log of the raw probability of the token that was kept."""
    top: list[int | None] = field(default_factory=list)
    """The likeliest token, as the LLM's id; None for one that the LLM does not have."""


def score(stitch: Stitch, text: str, trace: Trace) -> dict[str, Any]:
    """Of an answer to the question `text`: tokens as the LLM's ids, who wrote each, and `Read` of
    both sides. It ends early at a token that one side does not have, or where its row is full.

    Nothing may be in flight: rows are opened beside the engine's.
    """
    kept = [p for p in trace.proposals if p.keep]
    prompts = {**stitch.prompts(text, policy=make("entropy", tau=0.0)), **trace.prompts}
    ids = {side: own_ids(stitch, side, kept) for side in Side}
    limits = stitch.in_process.rows.limits
    room = (limits[side] - len(prompts[side]) for side in Side)
    n = max(0, min(*(len(found) for found in ids.values()), *room))
    reads = {s.label: _read(stitch, s, prompts[s], ids[s][:n]) for s in Side} if n else {}
    return {
        "tokens": ids[Side.LLM][:n],
        "sides": "".join(p.side.name[0] for p in kept[:n]),
        **{side.label: _plain(reads.get(side.label, Read())) for side in Side},
    }


def own_ids(stitch: Stitch, side: Side, kept: Sequence[Proposal]) -> list[int]:
    """The tokens as that side's ids, up to the first that it does not have."""
    found: list[int] = []
    for proposal in kept:
        token = partner(stitch, side, proposal.token, proposal.side)
        if token is None:
            break
        found.append(token)
    return found


def partner(stitch: Stitch, reader: Side, token: int, writer: Side) -> int | None:
    """The reader's id for a token of the writer; None without one."""
    table = stitch.engine.translation
    return token if table is None else table.read(reader, token, writer)


def _plain(read: Read) -> dict[str, list[Any]]:
    return {"entropy": read.entropy, "logprob": read.logprob, "top": read.top}


def _read(stitch: Stitch, side: Side, prompt: Sequence[int], answer: Sequence[int]) -> Read:
    found, at = Read(), 0
    size = stitch.in_process.runners[side].vocab_size
    for logits in _logits(stitch, side, [*prompt, *answer[:-1]], len(answer)):
        logp = sampling.log_probs(logits, size)
        tokens = torch.tensor(answer[at : at + len(logp)], device=logp.device)
        at += len(logp)
        found.entropy.extend(map(_rounded, sampling.entropy(logp).tolist()))
        kept = logp.gather(1, tokens[:, None])[:, 0].clamp(min=-sampling.IMPOSSIBLE)
        found.logprob.extend(map(_rounded, kept.tolist()))
        tops = logp.argmax(-1).tolist()
        found.top.extend(partner(stitch, Side.LLM, token, side) for token in tops)
    return found


def _logits(stitch: Stitch, side: Side, fed: Sequence[int], wanted: int) -> Iterator[Tensor]:
    """Raw logits (tokens, columns) after each of the last `wanted` that are fed, piece by piece."""
    runner = stitch.in_process.runners[side]
    size = min(stitch.engine.config.max_step_tokens, max(1, LOGITS // runner.vocab_size))
    stitch.in_process.forget()
    with held_interrupt():
        row = runner.open()
    try:
        for start in range(0, len(fed), size):
            piece = fed[start : start + size]
            read = min(len(piece), start + len(piece) - (len(fed) - wanted))
            with held_interrupt(), torch.inference_mode():
                logits = runner.extend([Extend(row, piece)], [read] if read > 0 else "last")
            if read > 0:
                yield logits
    finally:
        runner.free(row)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
