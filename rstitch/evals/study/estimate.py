"""How long a study would take: seconds a token, as just measured, times tokens as expected.

Rough, and meant to be on the high side: a stitched token is counted as one of the LLM, and what
speculates as twice the LLM alone (the paper's slowest is 2.3 times). Contexts are short in the
probe, so very long answers cost more than it says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rstitch.evals.pilot import SIZE
from rstitch.evals.study.cells import Cell, cells
from rstitch.evals.study.spec import Study
from rstitch.evals.task import Problem
from rstitch.policy import make
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

TOKENS = 64
"""Of an answer of the probe."""
RIVAL = 2.0
"""What answers one at a time, in units of the LLM alone."""
SLM_ONLY = ("slm", "vote")


@dataclass(frozen=True, slots=True)
class Probe:
    """Seconds a token, prompt included; index by `Side`."""

    one: tuple[float, float]
    """One answer at a time."""
    many: tuple[float, float]
    """As many in flight as the study has, per token of all of them."""
    load: float
    """Seconds to load the pair."""

    def asdict(self) -> dict[str, Any]:
        return asdict(self)


def probe(stitch: Stitch, problems: Sequence[Problem], rows: int, load: float) -> Probe:
    """Measure both sides, with the first problems; each once before it counts."""
    texts = [problems[index % len(problems)].text for index in range(rows)]
    one, many = [], []
    for side in Side:
        _rate(stitch, side, texts[:1])
        one.append(_rate(stitch, side, texts[:1]))
        many.append(_rate(stitch, side, texts))
    return Probe((one[0], one[1]), (many[0], many[1]), load)


def _rate(stitch: Stitch, side: Side, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    answers = stitch.batch(texts, policy=make(side.label), max_tokens=TOKENS, ignore_eos=True)
    seconds = time.perf_counter() - started
    return seconds / max(1, sum(answer.usage.tokens for answer in answers))


Sizes = Mapping[str, int]
"""Problems of each task."""
Owed = Callable[[Cell, str, int], int]
"""Answers of a method of a cell that are not there yet, of so many in all."""


def all_owed(cell: Cell, method: str, answers: int) -> int:
    return answers


def seconds(study: Study, probe: Probe, sizes: Sizes, owed: Owed = all_owed) -> float:
    """Of the whole study, or of what is owed of it."""
    parts = [cell_seconds(study, cell, probe, sizes, owed) for cell in cells(study)]
    drafts = any(cell.kind == "draft" for cell in cells(study))
    return sum(parts) + probe.load * (1 + drafts)


def cell_seconds(
    study: Study, cell: Cell, probe: Probe, sizes: Sizes, owed: Owed = all_owed
) -> float:
    problems = min(cell.problems or sizes[cell.task], sizes[cell.task])
    total = 0.0
    for method in cell.methods:
        left = owed(cell, method, problems * cell.samples)
        total += left * _answer(study, cell, method, probe)
    fitted = set(cell.methods) & set(study.controls)
    if fitted and any(owed(cell, method, problems) for method in fitted):
        total += min(SIZE, problems) * _answer(study, cell, cell.reference, probe)  # the pilot
    return total


def _answer(study: Study, cell: Cell, method: str, probe: Probe) -> float:
    side = Side.SLM if method.split(",")[0] in SLM_ONLY else Side.LLM
    rate = (probe.one if cell.in_flight == 1 else probe.many)[side]
    return rate * tokens(study, cell, method) * (RIVAL if method in study.rivals else 1.0)


def tokens(study: Study, cell: Cell, method: str) -> float:
    """Expected of an answer: what the study says of the method, for a control of what it is like,
    else of the LLM alone, else the whole budget."""
    like = cell.reference if method in study.controls else method
    said = study.expected.get(like, study.expected.get("llm", cell.budget))
    return min(float(said), float(cell.budget))
