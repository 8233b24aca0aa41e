"""The loop: interleaving, resuming, what a record holds, and that it can be recomputed from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRequest, BadRun
from rstitch.evals import drive, evaluate, methods
from rstitch.evals.directory import RECORDS, read_records
from rstitch.evals.methods import CONTROLS
from rstitch.evals.packed import pack, unpack
from rstitch.evals.table import table as made
from rstitch.explain import check
from rstitch.policy import make
from rstitch.types import Sampling
from tests.evals.doubles import STITCHED, plan, run
from tests.pair import QUESTION, stitch


class Stop(Exception):
    """What ends a run in the middle."""


def stopping(after: int) -> Any:
    left = [after]

    def tell(what: str, done: int, total: int) -> None:
        if what == "problems" or what in ("llm", "slm", STITCHED):
            left[0] -= 1
            if left[0] < 0:
                raise Stop

    return tell


def without_seconds(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    answers = [r for r in records if r["type"] == "answer"]
    return sorted((r["method"], r["problem"], r["sample"], r["text"], r["right"]) for r in answers)


# -- one at a time --------------------------------------------------------------------------------


def test_every_method_on_every_problem(tmp_path: Path) -> None:
    found = run(plan(samples=2, repeats=2), tmp_path / "run")
    keys = [(r["problem"], r["sample"], r["method"]) for r in found.records]
    methods = ("llm", "slm", STITCHED)
    assert sorted(keys) == sorted(
        (f"a-{i}", s, m) for i in range(3) for s in range(2) for m in methods
    )
    assert all(len(r["seconds"]) == 2 and min(r["seconds"]) > 0 for r in found.records)
    assert {r["group"] for r in found.records} == {"level 0", "level 1"}


def test_methods_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warm-up of each on the shortest, then problem by problem and repeat by repeat, rotating."""
    order, one = [], drive.one

    def watched(stitch: Any, method: Any, question: Any) -> Any:
        order.append(f"{question.index}{method.spec()['name'][0]}")
        return one(stitch, method, question)

    monkeypatch.setattr(drive, "one", watched)
    run(plan("llm", "slm", n=2, repeats=2), tmp_path / "run")
    assert order == ["1l", "1s", *("0l", "0s", "0s", "0l"), *("1s", "1l", "1l", "1s")]


def test_a_record_can_be_recomputed_from_its_traces(tmp_path: Path) -> None:
    run(plan(), tmp_path / "run")
    for record in read_records(tmp_path / "run"):
        (packed,) = record["traces"]
        trace = unpack(packed)
        assert check(trace) is None
        kept = [p for p in trace.proposals if p.keep]
        assert record["tokens"] == len(kept) == record["slm_tokens"] + record["llm_tokens"]
        assert record["llm_tokens"] == sum(p.side for p in kept)
        assert record["discards"] == len(trace.proposals) - len(kept)
        assert record["text"] == "".join(trace.texts)
        assert record["seconds"][0] >= sum(f.seconds for f in trace.forwards)
        assert record["reason"] == trace.end["reason"]
    run(plan(traces=False), tmp_path / "small")
    assert [r["traces"] for r in read_records(tmp_path / "small")] == [[]] * 9


def test_problems_and_samples_have_seeds_of_their_own_and_methods_share_them() -> None:
    chosen = plan(sampling=Sampling(0.7), samples=2)
    seeds = {(i, s): chosen.question(i, s).sampling.seed for i in range(3) for s in range(2)}
    assert len(set(seeds.values())) == 6 and all(seed is not None for seed in seeds.values())
    assert seeds[1, 1] == plan(sampling=Sampling(0.7)).question(1, 1).sampling.seed
    assert seeds[1, 1] != plan(sampling=Sampling(0.7), seed=1).question(1, 1).sampling.seed


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_a_run_that_was_stopped_goes_on(tmp_path: Path, in_flight: int, after: int) -> None:
    chosen = plan(in_flight=in_flight, sampling=Sampling(0.7))
    whole = run(chosen, tmp_path / "whole")
    try:
        run(chosen, tmp_path / "run", stopping(after))
    except Stop:
        with (tmp_path / "run" / RECORDS).open("a") as file:
            file.write('{"type": "answer", "met')
    again = run(chosen, tmp_path / "run")
    assert without_seconds(again.records) == without_seconds(whole.records)
    done = (tmp_path / "run" / RECORDS).read_bytes()
    run(chosen, tmp_path / "run")
    assert (tmp_path / "run" / RECORDS).read_bytes() == done, "nothing is owed, nothing is written"


def test_what_was_settled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On going on no pilot is asked: methods are those of the configuration."""
    chosen = plan("llm", STITCHED, "coin")
    first = run(chosen, tmp_path / "run")
    assert 0 < first.config["methods"]["coin"]["p"] < 1
    monkeypatch.setattr(evaluate, "fit", None)
    (tmp_path / "run" / RECORDS).unlink()
    again = run(chosen, tmp_path / "run")
    assert without_seconds(again.records) == without_seconds(first.records)


def test_a_configuration_runs_no_file_that_the_user_did_not_name(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    run(plan("slm"), tmp_path / "run")
    config = tmp_path / "run" / "config.json"
    for name in (f"{tmp_path / 'evil.py'}:Evil", "llm"):
        changed = json.loads(config.read_text())
        changed["methods"]["slm"] = {"name": name}
        config.write_text(json.dumps(changed))
        with pytest.raises(BadRun, match="says that slm is .*; delete the directory"):
            run(plan("slm"), tmp_path / "run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"max_tokens": 13}, "max_tokens"),
        ({"seed": 1}, "seed"),
        ({"n": 2}, "task.n"),
        ({"sampling": Sampling(0.1)}, "sampling.temperature"),
        ({"in_flight": 2}, "in_flight"),
    ],
)
def test_a_run_of_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    run(plan("slm"), tmp_path / "run")
    with pytest.raises(BadRun, match=f"begun with {key} = "):
        run(plan("slm", **changes), tmp_path / "run")


def test_another_machine_is_refused(tmp_path: Path) -> None:
    """Its seconds are not to be compared with those that are there."""
    run(plan("slm"), tmp_path / "run", machine={"cpu": "slow", "cores": 2})
    with pytest.raises(BadRun, match='begun with machine.cpu = "slow", now it is "fast"'):
        run(plan("slm"), tmp_path / "run", machine={"cpu": "fast", "cores": 2})


OTHER = """
from dataclasses import dataclass
from rstitch.evals.methods.base import Method, Written

@dataclass(frozen=True)
class Parrot(Method):
    def write(self, stitch, question):
        counted = {"llm_tokens": 7, "slm_tokens": 2}
        return Written("polly e", False, "stop", extra={**counted, "of": "me"})
        yield
"""


def test_a_method_that_writes_elsewhere_counts_its_own_tokens(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(OTHER)
    found = run(plan("llm", f"{tmp_path / 'other.py'}:Parrot"), tmp_path / "run")
    one = found.records[-1]
    assert (one["tokens"], one["llm_tokens"], one["slm_tokens"]) == (9, 7, 2)
    assert (one["right"], one["extra"], one["handoffs"]) == (True, {"of": "me"}, 0)


def test_a_rule_that_was_changed_in_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.py"
    path.write_text(OTHER)
    chosen = plan("llm", f"{path}:Parrot")
    found = run(chosen, tmp_path / "run")
    assert list(found.config["asked"]["files"]) == [str(path)]
    path.write_text(OTHER.replace("polly", "molly"))
    with pytest.raises(BadRun, match=f"begun with files.{path} = "):
        run(chosen, tmp_path / "run")


def test_nobody_else_settles_the_same_run(tmp_path: Path) -> None:
    """The directory is taken before the pilot, which may take an hour."""
    tried = []

    def tell(what: str, done: int, total: int) -> None:
        if what.startswith("settling") and not tried:
            with pytest.raises(BadRun, match="is being run by another process") as found:
                run(plan("slm"), tmp_path / "run")
            tried.append(found)

    run(plan("slm"), tmp_path / "run", tell)
    assert tried


# -- what cannot be answered ----------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_question_that_fits_no_context_is_a_wrong_answer(tmp_path: Path, in_flight: int) -> None:
    """The others are answered, and the table says what went wrong."""
    chosen = plan(in_flight=in_flight)
    long = replace(chosen.problems[1], text="e" * 2000)
    chosen = replace(chosen, problems=(chosen.problems[0], long, chosen.problems[2]))
    found = run(chosen, tmp_path / "run")
    answers = [r for r in found.records if r["type"] == "answer"]
    assert len(answers) == 9
    wrong = [r for r in answers if r["reason"] == "failed"]
    assert [(r["problem"], r["right"], r["tokens"]) for r in wrong] == [("a-1", False, 0)] * 3
    table = made(found.config, found.records)
    assert all(row.failed == 1 and row.answers == 3 for row in table.rows)
    assert any(
        "1 of 3 answers of slm failed: the prompt has 2017 tokens for" in line
        for line in table.warnings
    )
    if in_flight == 1:
        speed = [row.speed for row in table.rows if row.speed]
        assert len(speed) == 2, "compared on the two that both answered"


def test_the_pilot_does_without_what_cannot_be_answered(tmp_path: Path) -> None:
    chosen = plan("llm", STITCHED, *CONTROLS, "cascade", n=4, in_flight=4)
    long = replace(chosen.problems[1], text="e" * 2000)
    chosen = replace(chosen, problems=(chosen.problems[0], long, *chosen.problems[2:]))
    found = run(chosen, tmp_path / "run")
    assert found.config["methods"]["elsewhere"]["problems"] == [0, 2, 3]
    assert all(None not in spec.values() for spec in found.config["methods"].values())


def test_a_method_that_fails_everywhere_ends_the_run(tmp_path: Path) -> None:
    chosen = plan("slm")
    chosen = replace(chosen, problems=tuple(replace(p, text="e" * 2000) for p in chosen.problems))
    with pytest.raises(BadRequest, match="the prompt has 2017 tokens for the SLM"):
        run(chosen, tmp_path / "run")
    with pytest.raises(BadRequest, match="the prompt has 2017 tokens for the SLM"):
        others = {"slm": methods.make("slm"), "requests": methods.make("requests")}
        run(replace(chosen, methods=others), tmp_path / "other")


# -- many in flight -------------------------------------------------------------------------------


def test_many_in_flight_write_the_same_and_the_rate_of_each_method(tmp_path: Path) -> None:
    one = run(plan(n=6), tmp_path / "one")
    many = run(plan(n=6, in_flight=4), tmp_path / "many")
    assert without_seconds(one.records) == without_seconds(many.records)
    batches = [r for r in many.records if r["type"] == "batch"]
    assert [(b["method"], b["answers"]) for b in batches] == [("llm", 6), ("slm", 6), (STITCHED, 6)]
    assert all(b["tokens"] == 72 and b["seconds"] > 0 for b in batches)


def test_a_killed_run_keeps_the_rates_of_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line was written at a method's end alone, so a killed one had the rate of its last part
    or none."""
    monkeypatch.setattr(evaluate, "SEGMENT", 0.0)
    with pytest.raises(Stop):
        run(plan("llm", n=6, in_flight=2), tmp_path / "run", stopping(4))
    found = list(read_records(tmp_path / "run"))
    batches = [r for r in found if r["type"] == "batch"]
    assert len(batches) >= 2 and sum(b["answers"] for b in batches) == len(batches)
    assert all(b["tokens"] == 12 and b["seconds"] > 0 for b in batches)
    again = run(plan("llm", n=6, in_flight=2), tmp_path / "run")
    assert sum(r["answers"] for r in again.records if r["type"] == "batch") == 6


# -- packing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["entropy", "random", "window", "rewind", "llm"])
def test_a_packed_trace_is_the_trace(policy: str) -> None:
    params = {"random": {"p": 0.3, "q": 0.4}, "llm": {}}.get(policy, {"tau": 0.6})
    trace = (
        stitch()
        .generate(
            QUESTION,
            policy=make(policy, **params),
            sampling=Sampling(0.7, seed=3),
            max_tokens=20,
            top_logprobs=2,
        )
        .trace
    )
    assert unpack(json.loads(json.dumps(pack(trace)))) == trace
