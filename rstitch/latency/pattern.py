"""What an answer asks of the two models, pass by pass, whoever runs beside it.

Taken from a trace, or drawn from how often control leaves each side. Which passes an answer takes
does not depend on what else is in flight, only when each of them runs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rstitch.latency.recorded import Recorded
from rstitch.types import Forward, Side


@dataclass(frozen=True, slots=True)
class Part:
    """One pass of one answer."""

    side: Side
    new: int
    cached: int
    whole: bool = True
    """Its side has then seen everything, so a token follows; false for a chunk of a prompt."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One answer."""

    parts: tuple[Part, ...]
    tokens: int
    """Kept ones."""
    stitched: bool = True
    """Both sides may write it; else it never waits for the sake of others."""


def of_trace(recorded: Recorded) -> Pattern:
    """Raises ValueError for one without passes."""
    forwards = recorded.trace.forwards
    if not forwards:
        raise ValueError(f"{recorded.trace.id} has no passes")
    return Pattern(tuple(_parts(forwards)), recorded.tokens, len(recorded.trace.prompts) > 1)


def alone(side: Side, prompt: int, tokens: int) -> Pattern:
    """An answer that one model writes: a prefill and a step for every further token."""
    parts = [Part(side, prompt, 0)]
    parts += [Part(side, 1, prompt + at) for at in range(tokens - 1)]
    return Pattern(tuple(parts), tokens, stitched=False)


def drawn(p: float, q: float, tokens: int, seed: int, prompt: int = 1) -> Pattern:
    """p: an SLM's proposal is discarded and the LLM asked; q: control returns after its token."""
    draw, seen, parts, kept, side = random.Random(seed), [0, 0], list[Part](), 0, Side.SLM
    while kept < tokens:
        length = prompt + kept
        parts.append(Part(side, length - seen[side] or 1, min(seen[side], length - 1)))
        seen[side] = length
        leaves = draw.random() < (p if side is Side.SLM else q)
        kept += not (side is Side.SLM and leaves)
        side = side.other if leaves else side
    return Pattern(tuple(parts), kept)


def _parts(forwards: Sequence[Forward]) -> Iterator[Part]:
    """A pass is whole unless the next one on its side begins where it ended, and the other side was
    not asked in between, and more than a token is fed: a chunk of a prompt."""
    for one, after in zip(forwards, [*forwards[1:], None], strict=True):
        cached = one.context - one.new_tokens
        chunk = (
            after is not None
            and after.side is one.side
            and after.context - after.new_tokens == one.context
            and after.new_tokens > 1
        )
        yield Part(one.side, one.new_tokens, cached, whole=not chunk)
