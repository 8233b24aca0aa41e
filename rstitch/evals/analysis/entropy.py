"""How sure a model is of its own text: of right and of wrong answers, and token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rstitch.evals.analysis.recording import Curve, Recording

EDGES = np.logspace(-6, 0, 49)
"""Of the histogram, normalised; eight to a decade. What lies outside is in the outermost bins."""
NATS = 0.1
"""Of the paper's "89 % of tokens are below 0.1", which is in nats (docs/analysis.md)."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Of each answer the mean entropy, then over answers."""

    median: float
    mean: float
    n: int


@dataclass(frozen=True, slots=True)
class Own:
    """One model's entropy over the answers that it wrote alone; normalised."""

    mean: float
    """Over tokens."""
    right: Answers | None
    wrong: Answers | None
    above: dict[str, float]
    """Shares of tokens above a bound."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Tokens by entropy: counts[i] are from edges[i] to edges[i + 1]."""

    edges: list[float]
    slm: list[int] = field(default_factory=list)
    llm: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Entropies:
    """Of each model on its own text; None where the recording has none."""

    slm: Own | None
    llm: Own | None
    histogram: Histogram


def entropies(recording: Recording, tau: float) -> Entropies:
    bounds = {"0.1nats": NATS / np.log(recording.vocabulary), "tau": tau}
    counts = {
        name: histogram([one.entropy for one, _ in _own(recording, name)])
        for name in ("slm", "llm")
    }
    return Entropies(
        **{name: own(_own(recording, name), bounds) for name in ("slm", "llm")},
        histogram=Histogram(EDGES.tolist(), **counts),
    )


def own(written: Sequence[tuple[Curve, bool]], bounds: Mapping[str, float]) -> Own | None:
    """Of a model's answers, each with whether it is right."""
    if not written:
        return None
    tokens = np.concatenate([curve.entropy for curve, _ in written])
    return Own(
        mean=float(tokens.mean()),
        right=_answers([curve for curve, right in written if right]),
        wrong=_answers([curve for curve, right in written if not right]),
        above={name: float((tokens > bound).mean()) for name, bound in bounds.items()},
    )


def histogram(curves: Sequence[np.ndarray]) -> list[int]:
    """Counts between EDGES."""
    if not curves:
        return []
    within = np.clip(np.concatenate(curves), EDGES[0], EDGES[-1])
    return [int(n) for n in np.histogram(within, EDGES)[0]]


def _own(recording: Recording, name: str) -> list[tuple[Curve, bool]]:
    answers = recording.answered(name)
    return [
        (one.slm if name == "slm" else one.llm, bool(answers[one.problem, one.sample]["right"]))
        for one in recording.scored(name)
        if (one.problem, one.sample) in answers
    ]


def _answers(curves: Sequence[Curve]) -> Answers | None:
    if not curves:
        return None
    means = np.array([curve.entropy.mean() for curve in curves])
    return Answers(float(np.median(means)), float(means.mean()), len(means))
