"""Measuring a curve on the tiny random pair: what is kept, gone on with, and left out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRequest, BadRun
from rstitch.evals.calibration import run as measuring
from rstitch.evals.calibration.curve import Curve, same_answer
from rstitch.evals.calibration.deadline import Job, OutOfTime, answered
from rstitch.evals.calibration.plan import Bound, Plan
from rstitch.evals.calibration.prompts import Prompts
from rstitch.evals.directory import RECORDS, read_records
from rstitch.evals.task import Problem
from rstitch.evals.verify import Plainly
from rstitch.policy import make
from rstitch.types import Sampling
from tests.evals.doubles import QUESTIONS, Apples, question
from tests.pair import stitch

TAUS = (0.3, 0.6, 0.9)


def plan(n: int = 3, labelled: bool = False, **changes: Any) -> Plan:
    texts = [Problem(f"p-{i}", QUESTIONS[i % 3], "e" * labelled) for i in range(n)]
    prompts = Prompts("mine.txt", tuple(texts), Apples() if labelled else None)
    return Plan(prompts, **{"taus": TAUS, "max_tokens": 8, **changes})


def measured(chosen: Plan, out: Path, tell: Any = lambda *told: None) -> Curve:
    return measuring.calibrate(stitch(), chosen, out, Plainly(), tell)


def test_a_curve_of_all_that_was_asked(tmp_path: Path) -> None:
    curve = measured(plan(), tmp_path / "run")
    assert [one.tau for one in curve.points] == list(TAUS) and not curve.left_out
    assert curve.llm.llm_share == 1 and curve.llm.agreed == 3 and curve.llm.speed_up == 1
    shares = [one.llm_share for one in curve.points]
    assert shares == sorted(shares, reverse=True) and 0 < shares[1] < 1
    assert all(one.timed == one.n == 3 and (one.seconds or 0) > 0 for one in curve.points)
    assert curve.bound is None and curve.points[0].right is None and curve.again is None


def test_sampled_the_llm_is_compared_with_itself(tmp_path: Path) -> None:
    curve = measured(plan(sampling=Sampling(0.9)), tmp_path / "run")
    assert curve.again is not None and 0 <= curve.again <= 3


def test_an_interrupted_one_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def stop(what: str, done: int, total: int) -> None:
        seen.append((what, done))
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(plan(), tmp_path / "run", stop)
    stitch().engine.step()  # which takes in that the rest is cancelled
    assert stitch().engine.idle
    before = (tmp_path / "run" / RECORDS).read_bytes()
    measured(plan(), tmp_path / "run")
    assert (tmp_path / "run" / RECORDS).read_bytes().startswith(before)
    keys = [(r["method"], r["problem"]) for r in read_records(tmp_path / "run") if "method" in r]
    assert len(keys) == len(set(keys)) == 12
    done = (tmp_path / "run" / RECORDS).read_bytes()
    measured(plan(), tmp_path / "run")
    assert (tmp_path / "run" / RECORDS).read_bytes() == done


def test_more_taus_later_but_not_for_a_bound(tmp_path: Path) -> None:
    measured(plan(taus=(0.6,)), tmp_path / "run")
    curve = measured(plan(), tmp_path / "run")
    assert len(curve.points) == 3
    assert [one.timed for one in (curve.llm, *curve.points)] == [3] * 4, "no prompt counts twice"
    rounds = [set(one["seconds"]) for one in read_records(tmp_path / "run") if "seconds" in one]
    assert rounds == [{"llm", "tau=0.6"}] * 3 + [{"llm", "tau=0.3", "tau=0.9"}] * 3
    bound = Bound(0.7, 0.5)
    measured(plan(labelled=True, bound=bound), tmp_path / "bound")
    with pytest.raises(BadRun, match="^--run .* was begun with bound.taus = "):
        measured(plan(labelled=True, bound=bound, taus=(0.6,)), tmp_path / "bound")


def test_a_bound_is_tried_from_the_smallest_tau_until_one_is_not_shown(tmp_path: Path) -> None:
    told: list[str] = []
    chosen = plan(labelled=True, bound=Bound(0.7, 0.5), taus=TAUS[::-1])
    curve = measured(chosen, tmp_path / "run", lambda what, *_: told.append(what))
    tried = [what for what in dict.fromkeys(told) if what.startswith("tau")]
    assert tried == [f"tau={tau}" for tau in TAUS[: len(tried)]]
    assert [one.shown for one in curve.points[:-1]] == [True] * (len(curve.points) - 1)
    for one in curve.points:
        assert one.right is not None and one.low is not None


def test_too_few_prompts_for_a_bound_are_told_at_once() -> None:
    with pytest.raises(BadRequest, match="3 prompts cannot show .* it takes 299 even if no answer"):
        plan(labelled=True, bound=Bound())


def test_a_bound_is_not_tested_before_all_prompts_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three would show it already: each resume was one more test of a growing sample."""
    late, clock = [0.0], time.perf_counter

    def tell(what: str, done: int, total: int) -> None:
        late[0] = 1e6 * (done == 2)

    chosen = plan(labelled=True, bound=Bound(0.5, 0.5), taus=(0.9,), minutes=60.0)
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: clock() + late[0])
        with pytest.raises(BadRequest, match="has answered 2 of 3 prompts in 70% of 60 minutes"):
            measured(chosen, tmp_path / "run", tell)
    kept = list(read_records(tmp_path / "run"))
    assert {one["method"] for one in kept} == {"llm"} and len(kept) == 2, "no tau is tried"
    assert measured(chosen, tmp_path / "run").llm.n == 3


def test_what_has_no_latency_is_not_timed_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    measured(plan(taus=(0.6,)), run)
    lines = (run / RECORDS).read_text().splitlines(keepends=True)
    failed = [line.replace('"tau=0.6":', '"tau=0.6":null,"x":') for line in lines[:-1]]
    (run / RECORDS).write_text("".join([*failed, lines[-1]]))
    curve = measured(plan(taus=(0.6,)), run)
    assert (curve.llm.timed, curve.points[0].timed) == (3, 1)
    assert len(list(read_records(run))) == len(lines)


def test_no_time_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="the LLM alone has not finished .* give more --minutes"):
        measured(plan(minutes=1e-6), tmp_path / "run")


def test_time_that_runs_out_leaves_a_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock jumps when the second tau is finished; the same command brings the rest."""
    late, clock = [0.0], time.perf_counter

    def tell(what: str, done: int, total: int) -> None:
        if what == "tau=0.3" and done == total:
            late[0] = 1e6

    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: clock() + late[0])
        curve = measured(plan(), tmp_path / "run", tell)
    assert [one.tau for one in curve.points] == [0.3, 0.6] and curve.points[0].seconds is None
    assert curve.left_out == ("tau 0.9: no time", "latencies on 3 of 3 prompts: no time")
    assert not measured(plan(), tmp_path / "run").left_out


def test_a_deadline_cuts_an_answer_short() -> None:
    jobs = [Job("a", question(), make("llm")), Job("b", question(1), make("llm"))]
    with pytest.raises(OutOfTime):
        list(answered(stitch(), jobs, 2, time.perf_counter()))
    stitch().engine.step()
    assert stitch().engine.idle


def test_a_prompt_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    """Context 256: the LLM cannot answer it, so nothing can be compared with."""
    long = Problem("long", "apples " * 300, "")
    prompts = plan().prompts
    given = Prompts("mine.txt", (long, *prompts.problems), None)
    curve = measured(Plan(given, taus=(0.6,), max_tokens=8), tmp_path / "run")
    assert curve.llm.n == 3
    with pytest.raises(BadRequest, match="the LLM alone answers no prompt: "):
        measured(Plan(Prompts("l", (long,), None), taus=(0.6,)), tmp_path / "none")


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("\\boxed{7}", "so the answer is 7.", True),
        ("\\boxed{7}", "\\boxed{8}", False),
        ("</think>Yes.", "</think> Yes.\n", True),
        ("</think>Yes.", "</think>No.", False),
        ("</think>Yes.", "\\boxed{7}", False),
    ],
)
def test_the_same_answer(ours: str, theirs: str, same: bool) -> None:
    records = [{"text": text, "inside": "think" in text} for text in (ours, theirs)]
    assert same_answer(*records, Plainly()) is same


def test_bad_plans() -> None:
    for changes, message in (
        ({"taus": (2.0,)}, "--taus has 2; each must be from 0 to 1"),
        ({"taus": (0.1, 0.1)}, "none twice"),
        ({"minutes": 0}, "--minutes is 0; it must be above 0"),
    ):
        with pytest.raises(BadRequest, match=message):
            plan(**changes)
    for given in ({"within": 0}, {"confidence": 1.0}):
        with pytest.raises(BadRequest, match=next(iter(given))):
            Bound(**given)
