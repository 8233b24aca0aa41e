"""The two models side by side: length, agreement, and right answers that stitching lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rstitch.evals.analysis.recording import Recording, Scored


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of answers to questions that both models get right by themselves."""

    both_right: int
    slm: float | None
    llm: float | None
    ratio: float | None
    """The LLM's over the SLM's."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of positions at which both models would write the same token next, greedily."""

    on_llm_text: float | None
    on_slm_text: float | None
    per_problem: dict[str, float]
    """On the LLM's text."""


@dataclass(frozen=True, slots=True)
class Overwritten:
    """Questions that the SLM alone gets right and stitching gets wrong."""

    n: int
    problems: list[str]


def lengths(recording: Recording) -> Lengths | None:
    """None without answers of both."""
    slm, llm = recording.answered("slm"), recording.answered("llm")
    common = [key for key in slm if key in llm]
    if not common:
        return None
    both = [key for key in common if slm[key]["right"] and llm[key]["right"]]
    if not both:
        return Lengths(0, None, None, None)
    ours, theirs = (float(np.mean([one[key]["tokens"] for key in both])) for one in (slm, llm))
    return Lengths(len(both), ours, theirs, theirs / ours if ours else None)


def agreement(recording: Recording) -> Agreement:
    on_llm, on_slm = recording.scored("llm"), recording.scored("slm")
    problems: dict[str, list[Scored]] = {}
    for one in on_llm:
        problems.setdefault(one.problem, []).append(one)
    shares = {problem: share(scored) for problem, scored in problems.items()}
    per_problem = {problem: found for problem, found in shares.items() if found is not None}
    return Agreement(share(on_llm), share(on_slm), per_problem)


def share(scored: Sequence[Scored]) -> float | None:
    """Of all their positions."""
    agreeing = [one.agreeing for one in scored]
    return float(np.concatenate(agreeing).mean()) if agreeing else None


def overwritten(recording: Recording) -> Overwritten | None:
    """None without answers of the SLM alone and of stitching."""
    slm, stitched = recording.answered("slm"), recording.answered("stitched")
    if not slm or not stitched:
        return None
    lost = [key for key, one in stitched.items() if key in slm and slm[key]["right"] > one["right"]]
    return Overwritten(len(lost), sorted({problem for problem, _ in lost}))
