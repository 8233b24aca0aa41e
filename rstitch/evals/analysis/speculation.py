"""Whether speculative decoding pays where the models agree: a recording beside an eval run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.analysis.recording import Recording
from rstitch.evals.analysis.together import agreement


@dataclass(frozen=True, slots=True)
class Speculation:
    """Per problem the agreement on the LLM's text, and how much faster speculative decoding is."""

    run: str
    method: str
    pairs: list[tuple[str, float, float]]
    """Problem, agreement, speed-up."""
    slower: int
    """Problems on which it is slower than the LLM alone."""
    rho: float | None
    """Spearman's; None below three problems, or where all agree alike."""


def speculation(recording: Recording, run: Path) -> Speculation:
    """Against an eval run of llm and speculative on the same task, one answer at a time. Raises
    BadRun for another."""
    config = directory.read_config(run)
    _check(run, config["asked"], recording.config["asked"])
    labels = {spec["name"]: label for label, spec in reversed(config["methods"].items())}
    missing = [name for name in ("llm", "speculative") if name not in labels]
    if missing:
        raise BadRun(f"--with {run} has no method {missing[0]}; it needs llm and speculative")
    seconds = _seconds(run)
    slow, fast = (seconds.get(labels[name], {}) for name in ("llm", "speculative"))
    agree = agreement(recording).per_problem
    pairs = [
        (problem, share, slow[problem] / fast[problem])
        for problem, share in agree.items()
        if problem in slow and problem in fast
    ]
    if not pairs:
        raise BadRun(
            f"--with {run} has no problem in common with the LLM's scores of the recording; record "
            "with --score-both and --method llm on the same problems"
        )
    return Speculation(
        run=str(run),
        method=labels["speculative"],
        pairs=pairs,
        slower=sum(speed < 1 for *_, speed in pairs),
        rho=spearman([share for _, share, _ in pairs], [speed for *_, speed in pairs]),
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation; ties share their mean rank."""
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = (ends - (counts - 1) / 2)[inverse]
    return ranks


def _check(run: Path, asked: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key in ("task", "weights"):
        if asked.get(key) != ours.get(key):
            raise BadRun(f"--with {run} is of another {key} than the recording; run eval on it")
    commits = [
        {side: one["revision"] for side, one in of["models"].items()} for of in (asked, ours)
    ]
    if commits[0] != commits[1]:
        raise BadRun(f"--with {run} is of another commit of the models than the recording")
    if asked["in_flight"] != 1:
        raise BadRun(
            f"--with {run} had {asked['in_flight']} answers in flight, so none has a latency; run "
            "it without --in-flight"
        )


def _seconds(run: Path) -> dict[str, dict[str, float]]:
    """By method and problem: the sum over samples of the median repeat."""
    found: dict[str, dict[str, float]] = {}
    for one in directory.read_records(run):
        if one["type"] == "answer" and one["reason"] != "failed":
            of = found.setdefault(one["method"], {})
            of[one["problem"]] = of.get(one["problem"], 0.0) + median(one["seconds"])
    return found
