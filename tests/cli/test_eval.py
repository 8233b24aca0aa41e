"""`rstitch eval` as a person runs it: the table, the directory, and what is refused in a line."""

from __future__ import annotations

import json
import resource
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rstitch.cli.compare import CONTROLS, RIVALS
from rstitch.errors import BadRequest
from rstitch.evals.evaluate import Plan
from tests.cli.terminal import rstitch, start_slowly
from tests.pair import TAU, pair

OPTIONS = [*pair().options, "--tau", str(TAU), "--max-tokens", "8"]


@pytest.fixture
def task(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    rows = [{"id": f"m-{i}", "problem": "Mia has?", "answer": str(i)} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_table_a_directory_and_going_on(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = ["eval", task, "--out", str(out), "--repeats", "1", *OPTIONS]
    done = rstitch(*argv)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:4]] == ["llm", "slm", "stitched"]
    assert "speed-up" in done.out and "problems: 3/3" in done.err
    config = json.loads((out / "config.json").read_text())
    assert config["asked"]["problems"] == 3 and config["asked"]["pair"]["tau"] == TAU
    hashed = set(config["asked"]["weights"]["slm"])
    assert hashed >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert config["asked"]["models"]["slm"] == {"source": str(pair().slm), "revision": None}
    assert len(config["asked"]["machine"]["code"]) == 16
    assert len((out / "records.jsonl").read_text().splitlines()) == 9
    again = rstitch(*argv, "--json")
    found = json.loads(again.out)
    assert found["run"] == str(out) and [row["method"] for row in found["rows"]] == [
        "llm", "slm", "stitched",
    ]  # fmt: skip
    changed = rstitch(*argv, "--seed", "1")
    assert changed.code == 1 and changed.out == ""
    assert "was begun with seed = 0, now it is 1; give the same to go on" in changed.err


def test_a_killed_run_goes_on_where_it_was(task: str, tmp_path: Path) -> None:
    """Killed by the system in the middle of the second problem, as it might be anywhere."""
    out = tmp_path / "run"
    argv = ["eval", task, "--out", str(out), "--repeats", "1", "--method", "slm", *OPTIONS]
    child = start_slowly(*argv)
    records = out / "records.jsonl"
    patience = time.monotonic() + 60
    while not (records.exists() and records.read_bytes()):
        assert child.poll() is None and time.monotonic() < patience, child.communicate()
        time.sleep(0.01)
    child.kill()
    child.communicate()
    before = records.read_bytes()
    assert 1 <= len(before.splitlines()) < 3
    done = rstitch(*argv, "--json")
    assert done.code == 0 and json.loads(done.out)["rows"][0]["answers"] == 3
    assert records.read_bytes().startswith(before)


def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on(task: str, tmp_path: Path) -> None:
    """The bound on a file's size stands for the disk: enough for some of the sixty answers."""
    out = tmp_path / "run"
    argv = ["eval", task, "--out", str(out), "--repeats", "1", "--method", "slm", *OPTIONS]
    argv += ["--samples", "20"]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        full = rstitch(*argv)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (full.code, full.out) == (1, "") and "Traceback" not in full.err
    last = full.err.splitlines()[-1]
    assert last.startswith("rstitch: ") and "records.jsonl cannot be written: " in last, last
    assert last.endswith("what was finished is kept: make room and give the same command again")
    kept = (out / "records.jsonl").read_bytes()
    assert kept.endswith(b"\n") and len(kept) <= 9000
    done = rstitch(*argv, "--json")
    assert done.code == 0 and json.loads(done.out)["rows"][0]["answers"] == 60


def test_many_in_flight_with_controls(task: str, tmp_path: Path) -> None:
    methods = ["stitched", "llm", "coin", "requests", "vote,k=2", "margin,bound=0.1"]
    named = [word for method in methods for word in ("--method", method)]
    done = rstitch(
        "eval", task, "--out", str(tmp_path / "run"), "--in-flight", "4", *named, *OPTIONS,
        "--no-traces", "--json", "--problems", "2", "--samples", "2", "--temperature", "0.7",
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = {row["method"]: row for row in json.loads(done.out)["rows"]}
    assert list(rows) == methods
    assert all(row["answers"] == 4 and row["rate"] > 0 for row in rows.values())
    assert rows["coin"]["share_off"] is not None and rows["vote,k=2"]["share_off"] is None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["aime"], "unknown task 'aime'; known: aime24, "),
        (["none.jsonl"], "cannot read none.jsonl: No such file"),
        (["test", "--method", "slim"], "unknown method 'slim'; known: brief, "),
        (["test", "--method", "slm", "--method", "slm"], "--method slm is there twice"),
        (
            ["test", "--method", "slm", "--like", "llm"],
            "--like llm is no --method of this run: slm",
        ),
        (["test", "--method", "coin"], "coin has to be like something: add --method stitched"),
        (["test", "--temperature", "-1"], "temperature is -1.0; it must be 0"),
        (
            ["test", "--repeats", "3", "--in-flight", "4"],
            "--repeats 3 with --in-flight 4: an answer among others has no latency",
        ),
        (["test,sed=1"], "task 'test' has no parameter 'sed'; it takes seed"),
        pytest.param(
            ["math500"],
            "HuggingFaceH4/MATH-500 cannot be had: no hub in reach",
            marks=pytest.mark.skipif(find_spec("datasets") is None, reason="needs rstitch[eval]"),
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_loaded(
    argv: list[str], message: str, tmp_path: Path
) -> None:
    out, nobody = tmp_path / "run", ["--slm", "no/slm", "--llm", "no/llm"]
    assert rstitch("eval", *argv, "--out", str(out), *nobody).line.startswith(message)
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_told_before_anything_is_loaded(
    task: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    nobody = ["--slm", "no/slm", "--llm", "no/llm"]
    line = rstitch("eval", task, "--out", str(tmp_path / "file" / "run"), *nobody).line
    assert line.endswith("cannot be written: " + str(tmp_path / "file") + " is a file"), line


def test_one_problem_is_a_table_too(task: str, tmp_path: Path) -> None:
    """Nothing infinite or undefined: it is JSON for other readers than Python."""
    argv = ["eval", task, "--problems", "1", "--out", str(tmp_path / "run"), *OPTIONS, "--json"]
    done = rstitch(*argv, "--method", "llm", "--method", "slm")
    found = json.loads(done.out, parse_constant=lambda text: pytest.fail(f"{text} in {done.out}"))
    assert found["rows"][1]["comparison"]["verdict"] == "unclear"


def test_gold_answers_that_are_no_mathematics_are_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    rows = [("a", "np.arcsin(10/13)"), ("b", "\\frac{1}{2}"), ("c", "7")]
    path.write_text(
        "".join(json.dumps({"id": i, "problem": "Mia has?", "answer": a}) + "\n" for i, a in rows)
    )
    done = rstitch(
        "eval",
        str(path),
        "--out",
        str(tmp_path / "run"),
        "--method",
        "slm",
        "--repeats",
        "1",
        *OPTIONS,
    )
    assert "1 of 3 gold answers are not read as mathematics and compared as text: a\n" in done.err


# -- compare and sweep ----------------------------------------------------------------------------

RULE = """
from dataclasses import dataclass
from rstitch.policy.entropy import EntropyThreshold

@dataclass(frozen=True)
class Mine(EntropyThreshold):
    tau: float = 0.5
"""


def test_a_rule_of_one_s_own_beside_all_that_it_has_to_beat(task: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RULE)
    mine = f"{tmp_path / 'mine.py'}:Mine"
    done = rstitch(
        "compare", task, "--policy", mine, "--out", str(tmp_path / "run"), "--in-flight", "4",
        *OPTIONS, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = {row["method"]: row for row in json.loads(done.out)["rows"]}
    assert list(rows)[:4] == ["llm", "slm", "stitched", mine]
    assert {m for m, row in rows.items() if row["share_off"] is not None} == set(CONTROLS)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["asked"]["reference"] == mine


def test_what_the_pair_is_not_made_for_is_left_out_of_a_comparison(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pilot ran for an hour, and then early exit ended it all; by name it is still refused."""
    monkeypatch.setattr("rstitch.api._marks", lambda models: None)
    monkeypatch.setattr("rstitch.evals.evaluate.run", _stop)
    done = rstitch(
        "compare", task, "--policy", "margin,bound=.1", "--out", str(tmp_path / "run"), *OPTIONS
    )
    assert "early-exit is left out: early exit closes a thought, but" in done.err
    assert done.err.splitlines()[-1] == "rstitch: llm slm stitched " + " ".join([
        "margin,bound=.1", *(name for name in RIVALS if name != "early-exit"), *CONTROLS,
    ])  # fmt: skip
    done = rstitch("eval", task, "--method", "early-exit", "--out", str(tmp_path / "run"), *OPTIONS)
    assert done.line.startswith("early exit closes a thought, but the LLM's tokenizer has no")


def _stop(stitch: Any, plan: Plan, *_: Any) -> None:
    raise BadRequest(" ".join(plan.methods))


@pytest.mark.parametrize("policy", ["llm", "slm", "coin,p=0.1"])
def test_a_comparison_of_what_is_compared_with_anyway(policy: str, tmp_path: Path) -> None:
    line = rstitch("compare", "test", "--policy", policy, "--out", str(tmp_path / "run")).line
    assert line.startswith(f"--policy {policy} is in the table anyway, for a rule to be compared")


def test_a_sweep_over_one_knob(task: str, tmp_path: Path) -> None:
    done = rstitch(
        "sweep", task, "tau=-1,0.5,2", "--out", str(tmp_path / "run"), "--in-flight", "4",
        *pair().options, "--max-tokens", "8", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    shares = {row["method"]: row["llm_share"] for row in json.loads(done.out)["rows"]}
    assert (shares["entropy,tau=-1"], shares["entropy,tau=2"]) == (1.0, 0.0)
    assert 0 < shares["entropy,tau=0.5"] < 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("tau", "'tau' is no knob with values; write it as tau=0.001"),
        ("tau=", "'tau=' is no knob with values"),
        ("tau=low", "tau is 'low'; it must be a number"),
        ("tua=0.1", "policy 'entropy' has no parameter 'tua'; it takes tau"),
    ],
)
def test_no_knob(values: str, message: str, tmp_path: Path) -> None:
    assert rstitch("sweep", "test", values, "--out", str(tmp_path / "run")).line.startswith(message)
