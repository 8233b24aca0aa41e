"""Groups of answers to one problem, in the engine, many in flight: greedy tokens, drawn decisions.

Only the router's decisions are random, so that a group's rewards differ by what the router did.
What a decision was drawn with is in the trace: the score and the action.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch.evals.recording.scored import own_ids
from rstitch.evals.seeds import seed_from
from rstitch.policy.base import Policy
from rstitch.router.prices import Price
from rstitch.router.problems import Graded
from rstitch.types import Sampling, Side

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of the router."""

    position: int
    score: float
    """Log-odds of handing over that it was drawn with."""
    handed: bool


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer."""

    problem: int
    text: str
    """The question."""
    tokens: tuple[int, ...]
    """As the LLM's ids."""
    right: bool
    seconds: float
    """Predicted."""
    cut: bool
    """Its budget ended it."""
    llm_share: float
    decisions: tuple[Decided, ...]


def roll(
    stitch: Stitch,
    problems: Sequence[tuple[int, Graded]],
    policy: Policy,
    tau: float,
    price: Price,
    n: int,
    seed: int,
    max_tokens: int,
) -> Iterator[list[Rollout]]:
    """A group of n for each (index, problem), in order; the coins are those of (seed, index)."""
    streams = [
        stitch.streams(
            one.text, n=n, policy=policy, sampling=Sampling(seed=seed_from(seed, index)),
            max_tokens=max_tokens,
        )
        for index, one in problems
    ]  # fmt: skip
    try:
        for (index, one), group in zip(problems, streams, strict=True):
            yield [_rollout(stitch, index, one, s.result(), tau, price) for s in group]
    finally:
        for group in streams:
            for stream in group:
                stream.close()


def _rollout(
    stitch: Stitch, index: int, one: Graded, answer: Answer, tau: float, price: Price
) -> Rollout:
    proposals = answer.trace.proposals
    tokens = own_ids(stitch, Side.LLM, [p for p in proposals if p.keep])
    return Rollout(
        problem=index,
        text=one.text,
        tokens=tuple(tokens),
        right=one.is_right(answer.text, answer.starts_thinking),
        seconds=price(answer.trace),
        cut=answer.reason == "length",
        llm_share=answer.usage.llm_share,
        decisions=tuple(
            Decided(p.position, p.signals.get("score", 0.0), not p.keep)
            for p in proposals
            if p.side is Side.SLM and p.entropy > tau and p.position <= len(tokens)
        ),
    )
