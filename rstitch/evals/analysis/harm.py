"""What a harmful token looks like to the SLM that wrote it: silent, or preceded by doubt?

The paper measures the mean entropy in windows at the first harmful token; its page says that they
end before the token and its caption that they lie around it, so both are here. Window 1 is the
token's own distribution in both. Every figure is the SLM's entropy on its own wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rstitch.evals.analysis.auroc import Cluster, Values, auroc
from rstitch.evals.analysis.recording import Record, Recording
from rstitch.evals.statistics import Interval, wilson

WINDOWS = (1, 4, 8, 12, 16)
Window = Callable[[np.ndarray, int, int], float]
"""Of an answer's entropies (n,), a position and a size."""
Positions = Mapping[str, Sequence[int]]
"""By kind of token."""


@dataclass(frozen=True, slots=True)
class Sense:
    """First harmful tokens in one sense."""

    found: int
    silent: float | None
    """Share with H <= tau, which the gate lets pass."""
    interval: Interval
    """95 % of that (Wilson)."""
    controls: int
    """Harmless positions before it in the same answers, of the same kind of token."""
    controls_right: int
    """Positions in right answers at which the LLM would have written something else, of the kinds
    of token that were harmful."""
    auroc: dict[str, float | None]
    """By window, of the mean entropy before the token; harmful tokens against controls of both
    sorts, each against those of its kind."""
    auroc_interval: dict[str, Interval | None]
    around: dict[str, float | None]
    """The same of windows centred on the token."""
    around_interval: dict[str, Interval | None]
    mean_entropy: dict[str, float | None]
    """By window before the token, over harmful tokens."""
    mean_around: dict[str, float | None]
    overall_mean: float
    """Over all tokens that the SLM wrote, in right and wrong answers."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Of wrong answers of the SLM alone."""

    wrong: int
    cut: int
    """Of these, answers that only begin to be searched: a token that one side does not have, or a
    full context, ends their scores."""
    h1: Sense
    h2: Sense


def harm(recording: Recording, tau: float) -> Harm | None:
    """None where harmful tokens were not looked for, or no answer is wrong."""
    curves = {one.problem: one.slm.entropy for one in recording.scored("slm") if one.sample == 0}
    if not recording.harms or not curves:
        return None
    every = np.concatenate([one.slm.entropy for one in recording.scored("slm")])
    overall = float(every.mean())
    harms = [one for one in recording.harms if one["problem"] in curves]
    harmless = [one for one in recording.harmless if one["problem"] in curves]
    h1, h2 = (sense(harms, harmless, name, curves, tau, overall) for name in ("h1", "h2"))
    written = recording.answered("slm")
    cut = sum(curves[o["problem"]].size < written[o["problem"], 0]["tokens"] for o in harms)
    return Harm(len(harms), cut, h1, h2)


def sense(
    harms: Sequence[Record],
    harmless: Sequence[Record],
    name: str,
    curves: Mapping[str, np.ndarray],
    tau: float,
    overall: float,
) -> Sense:
    """Of records of wrong and of right answers; curves are the SLM's entropies by problem."""
    found = [one for one in harms if one[name] is not None]
    silent = sum(bool(curves[one["problem"]][one[name]] <= tau) for one in found)
    kinds = {one["kinds"][name] for one in found}
    free = [{k: ts for k, ts in one["positions"].items() if k in kinds} for one in harmless]
    places = [
        *((one["problem"], {one["kinds"][name]: [one[name]]}, _controls(one, name))
          for one in found),
        *((one["problem"], {}, its) for one, its in zip(harmless, free, strict=True)),
    ]  # fmt: skip
    areas = {window: _areas(places, curves, window) for window in (before, around)}
    means = {window: _means(found, name, curves, window) for window in (before, around)}
    return Sense(
        found=len(found),
        silent=silent / len(found) if found else None,
        interval=wilson(silent, len(found)),
        controls=sum(len(one[f"{name}_controls"]) for one in found),
        controls_right=sum(len(ts) for its in free for ts in its.values()),
        auroc={size: area for size, (area, _) in areas[before].items()},
        auroc_interval={size: interval for size, (_, interval) in areas[before].items()},
        around={size: area for size, (area, _) in areas[around].items()},
        around_interval={size: interval for size, (_, interval) in areas[around].items()},
        mean_entropy=means[before],
        mean_around=means[around],
        overall_mean=overall,
    )


def before(entropy: np.ndarray, at: int, size: int) -> float:
    """Mean over the window that ends before a position, as far as the answer had begun; NaN at its
    first token. Size 1 is the position itself."""
    part = entropy[at : at + 1] if size == 1 else entropy[max(0, at - size) : at]
    return float(part.mean()) if part.size else float("nan")


def around(entropy: np.ndarray, at: int, size: int) -> float:
    """Mean over the window whose middle is the position, as far as there is an answer."""
    start = at - size // 2
    return float(entropy[max(0, start) : start + size].mean())


def _controls(one: Record, name: str) -> Positions:
    return {one["kinds"][name]: one[f"{name}_controls"]}


def _areas(
    places: Sequence[tuple[str, Positions, Positions]],
    curves: Mapping[str, np.ndarray],
    window: Window,
) -> dict[str, Any]:
    """Of a problem's harmful position, if it has one, and its controls."""

    def values(problem: str, positions: Positions, size: int) -> Values:
        curve = curves[problem]
        return {kind: [window(curve, t, size) for t in ts] for kind, ts in positions.items()}

    return {
        str(size): auroc([
            Cluster(values(problem, harmful, size), values(problem, controls, size))
            for problem, harmful, controls in places
        ])
        for size in WINDOWS
    }  # fmt: skip


def _means(
    found: Sequence[Record], name: str, curves: Mapping[str, np.ndarray], window: Window
) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for size in WINDOWS:
        values = np.array([window(curves[one["problem"]], one[name], size) for one in found])
        values = values[~np.isnan(values)]
        means[str(size)] = float(values.mean()) if values.size else None
    return means
