"""What a study makes of its runs, from records made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstitch.cli import studied
from rstitch.evals import directory
from rstitch.evals.study.cells import cells
from rstitch.evals.study.estimate import Probe
from rstitch.evals.study.kept import Kept
from rstitch.evals.study.outcome import BY_RATIO, PRICED, Line, outcome, overall
from rstitch.evals.study.spec import Study

STUDY = Study(
    "By hand", "builtin", ("dev", "test"), (100,), (0.1,), methods=("llm", "cascade"),
    controls=(), samples=1, timed=8, draft="other",
)  # fmt: skip
SECONDS = {"llm": 8.0, "cascade": 2.0, "speculative": 4.0, "stitched,tau=0.1": 2.0}


def trace(passes: int) -> dict[str, Any]:
    return {"forwards": {"side": [1] * passes, "new_tokens": [1] * passes}}


def record(method: str, at: int, **more: Any) -> dict[str, Any]:
    """An LLM answer has 80 passes, others fewer; the cascade's every second is written twice."""
    seconds = SECONDS[method]
    traces: list[Any] = [trace(int(10 * seconds))]
    if method == "speculative":
        traces = [{"forwards": [[0, 1, 9, 9, 9, 0.1]]}]
    if method == "cascade" and at % 2:
        traces = [trace(20), trace(80)]
        seconds += SECONDS["llm"]
    given = {
        "type": "answer", "method": method, "problem": f"p{at}", "sample": 0, "group": "",
        "right": at > 0, "seconds": [seconds], "tokens": 10, "llm_tokens": 10, "handoffs": 0,
        "reason": "stop", "extra": {}, "traces": traces,
    }  # fmt: skip
    return {**given, **more}


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    """Of 6 problems a task, 4 timed."""
    found = Kept(tmp_path, STUDY, Probe((1, 1), (1, 1), 1), {"dev": 6, "test": 6}, ())
    for cell in cells(STUDY):
        n = 6 if cell.kind == "accuracy" else 4
        asked = {
            "in_flight": 1, "reference": cell.reference, "problems": n, "samples": 1,
            "max_tokens": 100,
        }  # fmt: skip
        methods = {label: {"name": label} for label in cell.methods}
        directory.create(found.cell(cell.name), asked, methods)
        with directory.opened(found.cell(cell.name)) as run:
            for method in cell.methods:
                for at in range(n):
                    run.add(record(method, at))
    return found


def by_method(kept: Kept) -> dict[str, Line]:
    return {line.method: line for line in outcome(kept).lines if line.task == "dev"}


def test_a_method_is_not_priced_from_its_cheap_answers_alone(kept: Kept) -> None:
    """Half of the cascade's answers have no price, the dear ones: it was 4x, and is 8 / 6."""
    found = by_method(kept)["cascade"].priced
    assert found is not None and found.how == BY_RATIO
    assert found.speed_up == pytest.approx(8 / 6), found


def test_what_failed_does_not_keep_a_method_from_its_price(kept: Kept) -> None:
    name = next(cell.name for cell in cells(STUDY) if cell.kind == "accuracy")
    with directory.opened(kept.cell(name)) as run:
        rule = "stitched,tau=0.1"
        run.add(record(rule, 5, reason="failed", traces=[], extra={"error": "too long"}))
    found = by_method(kept)["stitched,tau=0.1"].priced
    assert found is not None and found.how == PRICED and found.speed_up == pytest.approx(4)


def test_figures_of_the_timed_problems_alone_are_marked_everywhere(kept: Kept) -> None:
    made = outcome(kept)
    timed = {"speculative", "draft: speculative"}
    assert {one["method"] for one in overall(made.lines) if one["timed_only"]} == timed
    told = studied.lines(kept, made)
    rows = [line for line in told if any(line.startswith(name) for name in timed)]
    assert len(rows) == 6, "two tasks, and all tasks, of both"
    assert all("75.0" in line and "*" in line for line in rows), rows
    assert not any("*" in line for line in told if line.startswith(("llm", "cascade")))
