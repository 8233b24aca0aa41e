"""A recording as arrays: what the analyses read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rstitch.errors import BadRun
from rstitch.evals import directory

Record = Mapping[str, Any]
Key = tuple[str, str, int]
"""Method, problem, sample."""
NOBODY = -1
"""Stands for a token that the LLM does not have."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One side's distributions before each token of an answer; arrays of its length."""

    entropy: np.ndarray
    """Normalised."""
    logprob: np.ndarray
    """Nats, of the token that was kept."""
    top: np.ndarray
    """The likeliest tokens, as the LLM's ids."""


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer as both models see it."""

    method: str
    problem: str
    sample: int
    slm: Curve
    llm: Curve

    @property
    def key(self) -> Key:
        return self.method, self.problem, self.sample

    @property
    def agreeing(self) -> np.ndarray:
        """Per position: both would write the same token next, greedily."""
        same: np.ndarray = self.slm.top == self.llm.top
        return same


@dataclass(frozen=True, slots=True)
class Recording:
    """The records of a run by kind."""

    config: Mapping[str, Any]
    answers: Sequence[Record]
    scores: Sequence[Scored]
    harms: Sequence[Record]
    """Of wrong answers of the SLM alone: first harmful tokens."""
    harmless: Sequence[Record] = ()
    """Of its right answers: where the LLM would have written something else."""

    @property
    def tau(self) -> float:
        """The pair's, normalised."""
        return float(self.config["asked"]["pair"]["tau"])

    @property
    def vocabulary(self) -> int:
        """Tokens of the LLM: ln of it is what one normalised unit is in nats."""
        return int(self.config["asked"]["vocabulary"]["llm"])

    def label(self, name: str) -> str | None:
        """The first method of that name, whatever its parameters."""
        methods = self.config["methods"].items()
        return next((label for label, spec in methods if spec["name"] == name), None)

    def scored(self, name: str) -> list[Scored]:
        label = self.label(name)
        return [one for one in self.scores if one.method == label and one.slm.entropy.size]

    def answered(self, name: str) -> dict[tuple[str, int], Record]:
        """Answers of a method by (problem, sample); those that failed are none."""
        label = self.label(name)
        written = (one for one in self.answers if one["reason"] != "failed")
        return {(o["problem"], o["sample"]): o for o in written if o["method"] == label}


def read(path: Path) -> Recording:
    """Raises BadRun for a directory that is no recording."""
    config = directory.read_config(path)
    asked = config["asked"]
    if not isinstance(asked.get("vocabulary"), dict) or not isinstance(asked.get("pair"), dict):
        raise BadRun(f"{path} is a run, but no recording; rstitch record TASK --out DIR makes one")
    answers: list[Record] = []
    scores: dict[Key, Scored] = {}
    harms: dict[str, Record] = {}
    harmless: dict[str, Record] = {}
    for one in directory.read_records(path):
        if one["type"] == "answer":
            answers.append(directory.light(one))
        elif one["type"] == "scores":
            found = _scored(one)
            scores[found.key] = found
        elif one["type"] == "harm":
            harms[one["problem"]] = one
        elif one["type"] == "harmless":
            harmless[one["problem"]] = one
    return Recording(config, answers, [*scores.values()], [*harms.values()], [*harmless.values()])


def _scored(one: Record) -> Scored:
    sides = (_curve(one[side]) for side in ("slm", "llm"))
    return Scored(one["method"], one["problem"], one["sample"], *sides)


def _curve(one: Record) -> Curve:
    tops = [NOBODY if token is None else token for token in one["top"]]
    return Curve(np.array(one["entropy"]), np.array(one["logprob"]), np.array(tops, dtype=int))
