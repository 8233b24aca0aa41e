"""Everything that a recording says at once, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rstitch.errors import BadRun
from rstitch.evals.analysis.entropy import Entropies, entropies
from rstitch.evals.analysis.harm import Harm, harm
from rstitch.evals.analysis.recording import Recording
from rstitch.evals.analysis.speculation import Speculation
from rstitch.evals.analysis.together import (
    Agreement,
    Lengths,
    Overwritten,
    agreement,
    lengths,
    overwritten,
)
from rstitch.files import replaced

ANALYSIS = "analysis.json"


@dataclass(frozen=True, slots=True)
class Method:
    """What became of one method's questions."""

    answers: int
    right: int
    tokens: float
    """Mean."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """Entropies are normalised: times ln(vocabulary) they are nats. None is what the recording has
    no records of."""

    tau: float
    vocabulary: int
    methods: Mapping[str, Method]
    entropy: Entropies | None
    lengths: Lengths | None
    agreement: Agreement | None
    harm: Harm | None
    overwritten: Overwritten | None
    speculation: Speculation | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def analyse(
    recording: Recording, tau: float | None = None, speculation: Speculation | None = None
) -> Analysis:
    """tau: the pair's own where it is None."""
    bound, scored = recording.tau if tau is None else tau, bool(recording.scores)
    return Analysis(
        tau=bound,
        vocabulary=recording.vocabulary,
        methods=_methods(recording),
        entropy=entropies(recording, bound) if scored else None,
        lengths=lengths(recording),
        agreement=agreement(recording) if scored else None,
        harm=harm(recording, bound),
        overwritten=overwritten(recording),
        speculation=speculation,
    )


def write(analysis: Analysis, out: Path) -> None:
    """Into the directory of the recording, whole or not at all."""
    try:
        with replaced(out / ANALYSIS) as partial:
            text = json.dumps(analysis.as_dict(), indent=1, allow_nan=False)
            partial.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise BadRun(f"{out / ANALYSIS} cannot be written: {error.strerror}") from error


def _methods(recording: Recording) -> dict[str, Method]:
    found = {}
    for label in recording.config["methods"]:
        mine = [one for one in recording.answers if one["method"] == label]
        tokens = sum(one["tokens"] for one in mine) / len(mine) if mine else 0.0
        found[label] = Method(len(mine), sum(bool(one["right"]) for one in mine), tokens)
    return found
