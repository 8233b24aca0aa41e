"""A few problems, answered before a run, on which methods settle what they were not given."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from rstitch.errors import BadRequest
from rstitch.evals import drive
from rstitch.evals.methods.base import Method, Question, Written
from rstitch.pairs.recipe.splits import spread

if TYPE_CHECKING:
    from rstitch.api import Stitch

SIZE = 64
"""Problems for shares and rates: a share of 16 % is known within a point or two."""
TIMED = 6
"""Of these, problems for latencies."""


@dataclass
class PairPilot:
    """`Pilot` on a loaded pair; nothing is answered twice."""

    stitch: Stitch
    questions: list[Question]
    reference: Method
    _written: dict[str, list[Written]] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)

    def written(self, method: Method) -> list[Written]:
        key = repr(method.spec())
        if key not in self._written:
            rows = self.stitch.engine.config.max_rows
            jobs = ((i, method, question) for i, question in enumerate(self.questions))
            found = {i: written for i, written, _ in drive.many(self.stitch, jobs, rows)}
            if not any(written.answers for written in found.values()):
                raise BadRequest(
                    found[0].extra.get("error", f"{method.name} answers through others")
                )
            self._written[key] = [found[i] for i in range(len(self.questions))]
        return self._written[key]

    def seconds(self, method: Method) -> float:
        key = repr(method.spec())
        if key not in self._seconds:
            few = spread(self.questions, TIMED)
            drive.tried(self.stitch, method, few[0])  # warm
            self._seconds[key] = fmean(drive.tried(self.stitch, method, q)[1] for q in few)
        return self._seconds[key]
