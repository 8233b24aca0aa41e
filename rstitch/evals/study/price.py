"""Seconds of answers that nobody timed alone, from those that were: least squares, five numbers.

    seconds = a_S passes_S + a_L passes_L + b_S fed_S + b_L fed_L + c

passes: forward passes of a side that the answer took part in; fed: tokens that these fed beyond one
each (prompts, catch-ups). Fitted on the timed answers, no number below zero, each answer weighing
as its share and not as its seconds, and checked on problems that were left out. Growth of a pass
with its context is in the mean of a pass, so answers much longer than the timed ones are priced too
low. Small on purpose: `fit`, `Prices.seconds` and `Prices.error` are all that others use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from rstitch.latency import fit as fit_of
from rstitch.types import Side

Record = Mapping[str, Any]
"""An answer of a run, with its traces."""
NAMES = ("SLM pass", "LLM pass", "SLM token fed", "LLM token fed", "answer")
FOLDS = 5
LEAST = 3
"""Timed answers from which there is a price."""


def counts(record: Record) -> tuple[float, ...]:
    """(passes of the SLM, of the LLM, tokens fed beyond one a pass by each, 1)."""
    passes, fed = [0, 0], [0, 0]
    (trace,) = record["traces"]
    forwards = trace["forwards"]
    for side, new in zip(forwards["side"], forwards["new_tokens"], strict=True):
        passes[side] += 1
        fed[side] += new
    beyond = [fed[side] - passes[side] for side in Side]
    return (*map(float, passes), *map(float, beyond), 1.0)


def priceable(record: Record) -> bool:
    """Whether its passes are all on record and came one after the other: one answer, written by the
    engine, and not failed. Samples of one question share passes, so votes have no price."""
    traces = record["traces"]
    whole = all(isinstance(trace.get("forwards"), dict) for trace in traces)
    return len(traces) == 1 and whole and record["reason"] != "failed"


@dataclass(frozen=True, slots=True)
class Prices:
    """A fitted model of one pair on one machine."""

    coefficients: tuple[float, ...]
    """Seconds, by `NAMES`."""
    answers: int
    """How many it was fitted on."""
    error: float
    """Mean of |priced / measured - 1| over problems that had no part in the fit."""
    bias: float
    """Sum of priced over sum of measured, less 1, of the same."""

    def seconds(self, counted: Sequence[float]) -> float:
        return float(np.dot(self.coefficients, counted))


def fit(timed: Sequence[tuple[str, tuple[float, ...], float]]) -> Prices | None:
    """timed: (problem, counts, measured seconds) of each answer. None where they are too few."""
    if len(timed) < LEAST:
        return None
    x = np.array([row for _, row, _ in timed])
    y = np.array([seconds for _, _, seconds in timed])
    problems = list(dict.fromkeys(problem for problem, _, _ in timed))
    fold = np.array([problems.index(problem) % FOLDS for problem, _, _ in timed])
    priced = np.full(len(y), np.nan)
    for one in sorted(set(fold.tolist())):
        out = fold == one
        if (~out).sum() >= LEAST:
            priced[out] = x[out] @ fit_of.solve(x[~out], y[~out])
    seen = ~np.isnan(priced)
    error = float(np.abs(priced[seen] / y[seen] - 1).mean()) if seen.any() else float("nan")
    bias = float(priced[seen].sum() / y[seen].sum() - 1) if seen.any() else float("nan")
    return Prices(tuple(fit_of.solve(x, y).tolist()), len(y), error, bias)


def measured(record: Record) -> float:
    """Seconds of an answer that was timed alone: the median of its repeats."""
    return float(median(record["seconds"]))
