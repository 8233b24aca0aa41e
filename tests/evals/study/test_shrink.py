"""What a study is expected to take, and what is left out of it for want of time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rstitch.errors import BadRequest
from rstitch.evals.study import spec
from rstitch.evals.study.cells import cells
from rstitch.evals.study.estimate import Probe, cell_seconds, seconds
from rstitch.evals.study.shrink import shrunk
from rstitch.evals.study.spec import Study

PROBE = Probe(one=(0.01, 0.1), many=(0.001, 0.01), load=5.0)
SMALL = Study(
    "t", "builtin", ("test",), (100,), (0.1,), controls=("coin",), problems=10, samples=2,
    timed=4, expected={"llm": 80, "slm": 20},
)  # fmt: skip
PAPER = spec.load("paper-7b")
SIZES = {"aime24": 30, "amc83": 83, "minerva": 272, "math500": 500, "olympiadbench": 674}


def test_the_estimate_by_hand() -> None:
    """One at a time: 4 answers of 80 tokens by the LLM, the SLM's 20, stitched as the LLM, and
    speculation twice that. Many: 20 answers each, coin like stitched, and its pilot of 10."""
    latency, accuracy = cells(SMALL)
    sizes = {"test": 50}
    one = 4 * (80 * 0.1 + 20 * 0.01 + 80 * 0.1 + 2 * 80 * 0.1)
    many = 20 * (80 * 0.01 + 20 * 0.001 + 80 * 0.01 + 80 * 0.01) + 10 * 80 * 0.01
    assert cell_seconds(SMALL, latency, PROBE, sizes) == pytest.approx(one)
    assert cell_seconds(SMALL, accuracy, PROBE, sizes) == pytest.approx(many)
    assert seconds(SMALL, PROBE, sizes) == pytest.approx(one + many + 5.0)


def test_what_is_there_already_is_not_counted() -> None:
    assert seconds(SMALL, PROBE, {"test": 50}, lambda *_: 0) == pytest.approx(PROBE.load)


def test_things_are_left_out_in_the_stated_order_and_each_is_named() -> None:
    hours = seconds(PAPER, PROBE, SIZES) / 3600
    assert shrunk(PAPER, PROBE, SIZES, hours + 1) == (PAPER, [])
    order: list[str] = []
    for share in (0.9, 0.5, 0.2, 0.1, 0.05, 0.03, 0.01, 0.005, 0.003):
        try:
            less, dropped = shrunk(PAPER, PROBE, SIZES, hours * share)
        except BadRequest:
            break
        assert seconds(less, PROBE, SIZES) / 3600 <= hours * share
        assert dropped[: len(order)] == order, "more is left out, never something else"
        order = dropped
    kinds = list(dict.fromkeys(line.split()[0].rstrip(":") for line in order))
    assert kinds == ["controls", "problems", "samples", "taus", "budgets", "speculation", "timed"]
    assert order[0] == "controls two-state, elsewhere, requests: coin is left"
    assert "budgets 8192 tokens: 16384 is left" in order


def test_a_study_that_does_not_fit_at_all() -> None:
    with pytest.raises(BadRequest, match=r"--hours 0.001 is too little: the least of this study"):
        shrunk(PAPER, PROBE, SIZES, 0.001)


def test_controls_stay_like_the_same_rule() -> None:
    study = replace(PAPER, like=None)
    less, _ = shrunk(study, PROBE, SIZES, seconds(study, PROBE, SIZES) / 3600 / 30)
    assert less.reference == study.reference and len(less.taus) == 1
