"""Each analysis against figures worked out by hand, and the keys of the file that holds them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstitch.errors import BadRun
from rstitch.evals import directory
from rstitch.evals.analysis.auroc import Cluster, auroc
from rstitch.evals.analysis.entropy import EDGES, entropies, histogram
from rstitch.evals.analysis.harm import WINDOWS, around, before, harm
from rstitch.evals.analysis.recording import Recording, read
from rstitch.evals.analysis.speculation import spearman, speculation
from rstitch.evals.analysis.together import agreement, lengths, overwritten
from rstitch.evals.analysis.whole import ANALYSIS, analyse, write
from rstitch.evals.statistics import wilson

TAU = 0.5


def answer(method: str, problem: str, right: bool, tokens: int = 4, **more: Any) -> dict[str, Any]:
    head = {"type": "answer", "method": method, "problem": problem, "sample": 0}
    return {**head, "right": right, "reason": "stop", "tokens": tokens, "traces": [], **more}


def scores(
    method: str, problem: str, slm: list[float], llm: list[float], agreeing: str = ""
) -> dict[str, Any]:
    n = len(slm)
    same = agreeing or "y" * n
    side = {"logprob": [-1.0] * n, "top": [1] * n}
    return {
        "type": "scores", "method": method, "problem": problem, "sample": 0, "tokens": [1] * n,
        "sides": "S" * n, "slm": {"entropy": slm, **side},
        "llm": {"entropy": llm, **side, "top": [1 if c == "y" else 2 for c in same]},
    }  # fmt: skip


def harmful(problem: str, h1: int | None, controls: list[int], kind: str) -> dict[str, Any]:
    return {
        "type": "harm", "problem": problem, "h1": h1, "h2": None, "h1_controls": controls,
        "h2_controls": [], "kinds": {"h1": kind, "h2": None}, "tried": 3,
    }  # fmt: skip


RECORDS = [
    answer("slm", "a", True, 4), answer("slm", "b", False, 4), answer("slm", "c", True, 2),
    answer("llm", "a", True, 10), answer("llm", "b", True, 20), answer("llm", "c", True, 8),
    answer("stitched", "a", False), answer("stitched", "b", True), answer("stitched", "c", True),
    scores("slm", "a", [0.0, 0.2, 0.6, 0.0], [0.0] * 4, "yyny"),
    scores("slm", "b", [0.1, 0.1, 0.3, 0.9], [0.0] * 4, "nynn"),
    scores("slm", "c", [0.4, 0.0], [0.0] * 2),
    scores("llm", "a", [0.5, 0.5], [0.0, 0.1], "yn"),
    scores("llm", "b", [0.5, 0.5], [0.3, 0.0], "yy"),
    harmful("b", 2, [0], "digit"),
    {"type": "harmless", "problem": "a", "positions": {"digit": [2], "word": [1]}},
    {"type": "harmless", "problem": "c", "positions": {}},
]  # fmt: skip


def config(**asked: Any) -> dict[str, Any]:
    every = {
        "pair": {"tau": TAU}, "vocabulary": {"slm": 100, "llm": 100}, "in_flight": 1,
        "task": {"name": "t"}, "weights": {"slm": {}, "llm": {}},
        "models": {"slm": {"source": "s", "revision": None}}, **asked,
    }  # fmt: skip
    methods = {name: {"name": name} for name in ("slm", "llm", "stitched")}
    return {"version": directory.VERSION, "asked": every, "methods": methods}


def on_disk(path: Path, records: list[dict[str, Any]], told: dict[str, Any] | None = None) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(told or config()))
    (path / "records.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return read(on_disk(tmp_path / "run", RECORDS))


# -- entropy --------------------------------------------------------------------------------------


def test_entropy_is_of_each_models_own_text(recording: Recording) -> None:
    found = entropies(recording, TAU)
    assert found.slm is not None and found.llm is not None
    assert found.slm.mean == pytest.approx(2.6 / 10)
    assert found.llm.mean == pytest.approx(0.4 / 4)
    right, wrong = found.slm.right, found.slm.wrong
    assert right is not None and wrong is not None
    assert (right.n, wrong.n) == (2, 1)
    assert right.median == right.mean == pytest.approx((0.2 + 0.2) / 2)
    assert wrong.mean == pytest.approx(0.35)
    assert found.slm.above["tau"] == pytest.approx(2 / 10)


def test_a_tenth_of_a_nat_is_not_a_tenth(recording: Recording) -> None:
    """0.1 nats is 0.0217 of ln 100: the paper's unit trap."""
    found = entropies(recording, TAU).slm
    assert found is not None and found.above["0.1nats"] == pytest.approx(7 / 10)
    assert 0.1 / math.log(100) == pytest.approx(0.0217, abs=1e-4)


def test_every_token_is_in_the_histogram() -> None:
    """Zeros in the first bin, ones in the last."""
    found = histogram([np.array([0.0, 1e-9, 1.0, 0.02])])
    assert (sum(found), found[0], found[-1]) == (4, 2, 1) and len(found) == len(EDGES) - 1
    at = next(i for i in range(len(found)) if EDGES[i] <= 0.02 < EDGES[i + 1])
    assert found[at] == 1


# -- both together --------------------------------------------------------------------------------


def test_lengths_are_compared_where_both_are_right(recording: Recording) -> None:
    found = lengths(recording)
    assert found is not None
    assert (found.both_right, found.slm, found.llm, found.ratio) == (2, 3.0, 9.0, 3.0)


def test_agreement_on_either_text(recording: Recording) -> None:
    found = agreement(recording)
    assert (found.on_llm_text, found.on_slm_text) == (3 / 4, 6 / 10)
    assert found.per_problem == {"a": 0.5, "b": 1.0}


def test_right_answers_that_were_overwritten_are_named(recording: Recording) -> None:
    found = overwritten(recording)
    assert found is not None and (found.n, found.problems) == (1, ["a"])


# -- AUROC ----------------------------------------------------------------------------------------


def one(*positives: float, than: tuple[float, ...] = (), kind: str = "digit") -> Cluster:
    return Cluster({kind: positives}, {kind: than})


def test_auroc_by_hand() -> None:
    """3 above 1, 2 and level with 3; 2 above 1, level with 2, below 3: (2.5 + 1.5) of 6."""
    area, interval = auroc([one(3.0, than=(1.0, 2.0)), one(2.0, than=(3.0,))])
    assert area == pytest.approx(4 / 6)
    assert interval is not None and 0 <= interval[0] <= 4 / 6 <= interval[1] <= 1


def test_auroc_against_counting_pairs() -> None:
    draws = np.random.default_rng(3)
    clusters = [
        Cluster(
            {"a": [round(draws.normal(1), 1)]}, {"a": draws.normal(0, 1, 3).round(1).tolist()}
        )
        for _ in range(20)
    ]  # fmt: skip
    positives = [v for c in clusters for v in c.positives["a"]]
    controls = [v for c in clusters for v in c.controls["a"]]
    counted = np.mean([(p > c) + (p == c) / 2 for p, c in product(positives, controls)])
    area, interval = auroc(clusters)
    assert area == pytest.approx(float(counted))
    assert interval is not None and interval[0] < area < interval[1]
    assert 0.1 < interval[1] - interval[0] < 0.4, "about what 20 problems can tell"


def test_only_tokens_of_a_kind_are_compared_and_all_positives_count_alike() -> None:
    """The word lies below a hundred words, the digit above its one digit: a half, not 1 of 101."""
    clusters = [
        one(0.0, than=(1.0,) * 100, kind="word"), one(0.5, than=(0.1,)), one(9.0, kind="sign")
    ]  # fmt: skip
    assert auroc(clusters)[0] == 0.5


def test_without_controls_there_is_no_area() -> None:
    assert auroc([one(1.0), one(than=(2.0,), kind="word")]) == (None, None)
    assert auroc([one(float("nan"), than=(1.0,))]) == (None, None)
    assert auroc([]) == (None, None)


# -- harmful tokens -------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    entropy = np.arange(10.0)
    assert before(entropy, 6, 1) == around(entropy, 6, 1) == 6
    assert before(entropy, 6, 4) == (2 + 3 + 4 + 5) / 4
    assert before(entropy, 2, 4) == 0.5, "as far as the answer had begun"
    assert math.isnan(before(entropy, 0, 4))
    assert around(entropy, 6, 4) == (4 + 5 + 6 + 7) / 4
    assert around(entropy, 0, 4) == 0.5 and around(entropy, 9, 4) == 8


def test_harm_by_hand(recording: Recording) -> None:
    """The one harmful token has H 0.3; controls 0.1 in its answer and 0.6 in a right one."""
    found = harm(recording, TAU)
    assert found is not None and found.wrong == 1
    h1 = found.h1
    assert (h1.found, h1.silent, h1.interval) == (1, 1.0, wilson(1, 1))
    assert (h1.controls, h1.controls_right) == (1, 1)
    assert h1.auroc["1"] == 0.5
    assert h1.auroc["4"] == 0.5, "0.1 before both; the control that begins its answer has nothing"
    assert h1.mean_entropy["1"] == pytest.approx(0.3)
    assert h1.mean_entropy["4"] == pytest.approx(0.1)
    assert h1.overall_mean == pytest.approx(0.26)
    assert harm(recording, 0.2).h1.silent == 0.0  # type: ignore[union-attr]
    assert (found.h2.found, found.h2.silent, found.h2.auroc["1"]) == (0, None, None)


def test_a_harmful_token_at_the_threshold_is_silent(recording: Recording) -> None:
    """The gate hands over above it only."""
    assert harm(recording, 0.3).h1.silent == 1.0  # type: ignore[union-attr]


# -- speculation ----------------------------------------------------------------------------------


def timed(path: Path, changed: dict[str, Any] | None = None) -> Path:
    told = config(**(changed or {}))
    told["methods"] = {"llm": {"name": "llm"}, "speculative,k=3": {"name": "speculative"}}
    seconds = {"a": (2.0, 4.0), "b": (3.0, 1.5)}
    lines = [
        answer(method, problem, True, seconds=[9.0, s, 0.0])
        for problem, both in seconds.items()
        for method, s in zip(told["methods"], both, strict=True)
    ]
    return on_disk(path, lines, told)


def test_speed_up_beside_agreement(recording: Recording, tmp_path: Path) -> None:
    found = speculation(recording, timed(tmp_path / "eval"))
    assert found.pairs == [("a", 0.5, 0.5), ("b", 1.0, 2.0)]
    assert (found.slower, found.rho, found.method) == (1, None, "speculative,k=3")


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert spearman([1, 1, 2], [5, 5, 9]) == pytest.approx(1.0)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"task": {"name": "u"}}, "is of another task than the recording"),
        ({"weights": {"slm": {"a": "b"}}}, "is of another weights"),
        ({"models": {"slm": {"source": "s", "revision": "f"}}}, "is of another commit"),
        ({"in_flight": 4}, "had 4 answers in flight, so none has a latency"),
    ],
)
def test_a_run_of_something_else_is_refused(
    recording: Recording, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRun, match=message):
        speculation(recording, timed(tmp_path / "eval", changed))


def test_a_run_without_speculation_is_refused(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(BadRun, match="has no method speculative; it needs llm and speculative"):
        speculation(recording, on_disk(tmp_path / "eval", []))


# -- the whole ------------------------------------------------------------------------------------


def test_the_file_has_the_keys_that_figures_are_drawn_from(
    recording: Recording, tmp_path: Path
) -> None:
    write(analyse(recording), tmp_path)
    found = json.loads((tmp_path / ANALYSIS).read_text())
    assert (found["tau"], found["vocabulary"]) == (TAU, 100)
    assert set(found["entropy"]) == {"slm", "llm", "histogram"}
    assert set(found["entropy"]["slm"]) == {"mean", "right", "wrong", "above"}
    assert set(found["entropy"]["slm"]["right"]) == {"median", "mean", "n"}
    assert set(found["entropy"]["slm"]["above"]) == {"0.1nats", "tau"}
    assert set(found["entropy"]["histogram"]) == {"edges", "slm", "llm"}
    assert set(found["lengths"]) == {"both_right", "slm", "llm", "ratio"}
    assert set(found["agreement"]) == {"on_llm_text", "on_slm_text", "per_problem"}
    assert set(found["harm"]) == {"wrong", "cut", "h1", "h2"}
    for sense in ("h1", "h2"):
        assert set(found["harm"][sense]) >= {
            "found", "silent", "interval", "auroc", "around", "mean_entropy", "overall_mean",
        }  # fmt: skip
        for name in ("auroc", "around", "mean_entropy", "auroc_interval", "around_interval"):
            assert set(found["harm"][sense][name]) == {str(size) for size in WINDOWS}
    assert found["overwritten"] == {"n": 1, "problems": ["a"]}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"] == []


def test_what_was_not_recorded_is_null(recording: Recording) -> None:
    bare = replace(recording, scores=(), harms=(), harmless=())
    found = analyse(bare)
    assert (found.entropy, found.agreement, found.harm) == (None, None, None)
    assert found.lengths is not None
    nothing = analyse(replace(bare, answers=()))
    assert (nothing.lengths, nothing.overwritten) == (None, None)


def test_a_run_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    told = config()
    del told["asked"]["vocabulary"]
    with pytest.raises(BadRun, match="is a run, but no recording; rstitch record TASK"):
        read(on_disk(tmp_path / "eval", RECORDS, told))


def test_an_answer_whose_scores_end_early_is_counted(recording: Recording) -> None:
    """Nothing harmful was found there because nothing was looked at."""
    found = harm(recording, TAU)
    assert found is not None and found.cut == 0
    longer = replace(
        recording,
        answers=[{**one, "tokens": 9} if one["problem"] == "b" else one for one in RECORDS
                 if one["type"] == "answer"],
    )  # fmt: skip
    cut = harm(longer, TAU)
    assert cut is not None and cut.cut == 1
