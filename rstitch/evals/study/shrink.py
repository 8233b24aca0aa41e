"""What a study leaves out to fit a number of hours, one thing after the other, and says so.

The order: what costs most and says least goes first. Accuracy is lost to fewer problems before
samples, since it is the tables' own question whether a few problems can tell anything.

    1. random controls but the first
    2. problems, down to 64 a task, halved each time
    3. samples, down to 2
    4. taus but the one that controls are like
    5. budgets but the largest (a small one cuts off the LLM)
    6. the other draft
    7. timed problems, down to 16
    8. problems, down to 16 a task
    9. samples, down to 1
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rstitch.errors import BadRequest
from rstitch.evals.study.cells import plain
from rstitch.evals.study.estimate import Probe, Sizes, seconds
from rstitch.evals.study.spec import Study, stitched

HOUR = 3600.0


def shrunk(study: Study, probe: Probe, sizes: Sizes, hours: float) -> tuple[Study, list[str]]:
    """The study as far as it fits, and a line for everything that was left out.

    Raises BadRequest where even the least of it takes longer.
    """
    dropped: list[str] = []
    steps = _steps(study, sizes)
    while (needed := seconds(study, probe, sizes) / HOUR) > hours:
        step = next(steps, None)
        if step is None:
            raise BadRequest(
                f"--hours {hours:g} is too little: the least of this study takes "
                f"about {needed:.2g}; give more, or a study with fewer tasks"
            )
        study, line = step
        dropped.append(line)
    return study, dropped


def _steps(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    """The study after each step, each from the one before, and what that step left out."""
    for stage in (_controls, _problems, _samples, _taus, _budgets, _draft, _timed, _few, _one):
        for study, line in stage(study, sizes):  # noqa: B020  # each stage goes on from the last
            yield study, line


def _controls(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    if len(study.controls) > 1:
        left, *rest = study.controls
        yield replace(study, controls=(left,)), f"controls {', '.join(rest)}: {left} is left"


def _problems(study: Study, sizes: Sizes, least: int = 64) -> Iterator[tuple[Study, str]]:
    most = max(sizes.values())
    now = min(study.problems or most, most)
    while now > least:
        now = max(least, now // 2)
        study = replace(study, problems=now)
        few = [plain(task) for task in study.tasks if sizes[task] > now]
        yield study, f"problems: {now} of each of {', '.join(few)}"


def _few(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    return _problems(study, sizes, 16)


def _samples(study: Study, sizes: Sizes, least: int = 2) -> Iterator[tuple[Study, str]]:
    while study.samples > least:
        study = replace(study, samples=max(least, study.samples // 2))
        yield study, f"samples: {study.samples} of each problem"


def _one(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    return _samples(study, sizes, 1)


def _taus(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    kept = [tau for tau in study.taus if stitched(tau) == study.reference]
    rest = [f"{tau:g}" for tau in study.taus if tau not in kept]
    if rest:
        smaller = replace(study, taus=tuple(kept), like=kept[0])
        yield smaller, f"taus {', '.join(rest)}: {kept[0]:g} is left"


def _budgets(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    largest = max(study.budgets)
    rest = [str(one) for one in study.budgets if one != largest]
    if rest:
        yield (
            replace(study, budgets=(largest,)),
            f"budgets {', '.join(rest)} tokens: {largest} is left",
        )


def _draft(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    if study.draft:
        yield replace(study, draft=None), f"speculation with {study.draft}"


def _timed(study: Study, sizes: Sizes) -> Iterator[tuple[Study, str]]:
    while study.timed > 16:
        study = replace(study, timed=max(16, study.timed // 2))
        yield study, f"timed problems: {study.timed} in all"
