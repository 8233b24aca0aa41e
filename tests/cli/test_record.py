"""`rstitch record` and `rstitch analyse` as a person runs them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.cli.terminal import rstitch, start_slowly
from tests.pair import TAU, pair

OPTIONS = [*pair().options, "--tau", str(TAU), "--max-tokens", "8"]
METHODS = ["--method", "slm", "--method", "llm", "--method", "stitched"]


@pytest.fixture
def task(tmp_path: Path) -> str:
    """No answer is right: none of a tiny random model is 7."""
    path = tmp_path / "mine.jsonl"
    rows = [{"id": f"m-{i}", "problem": "Mia has?" + "!" * i, "answer": "7"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_recording_its_table_and_its_file(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = ["record", task, "--out", str(out), "--harmful", *METHODS, *OPTIONS]
    done = rstitch(*argv)
    assert done.code == 0, done.err
    for words in ("0.6 (3.", "nats", "same next token", "harmful tokens in 3 wrong answers"):
        assert words in done.out
    assert "scores: 9/9" in done.err and "harmful tokens: 3/3" in done.err
    kinds = [json.loads(line)["type"] for line in (out / "records.jsonl").read_text().splitlines()]
    assert (kinds.count("answer"), kinds.count("scores"), kinds.count("harm")) == (9, 9, 3)
    kept = json.loads((out / "analysis.json").read_text())
    again = rstitch("analyse", str(out), "--json")
    assert json.loads(again.out) == {"recording": str(out), **kept}
    assert kept["harm"]["wrong"] == 3 and kept["methods"]["llm"]["answers"] == 3
    changed = rstitch(*argv, "--seed", "1")
    assert "was begun with seed = 0, now it is 1" in changed.line


def test_another_tau_needs_no_models(task: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert rstitch("record", task, "--out", str(out), "--score-both", *OPTIONS).code == 0
    nats = rstitch("analyse", str(out), "--tau", "0.1nats", "--json")
    above = json.loads(nats.out)["entropy"]["slm"]["above"]
    assert above["tau"] == above["0.1nats"]
    assert rstitch("analyse", str(out), "--tau", "low").line.startswith("--tau is 'low'; it must")


def test_without_scores_there_is_less_to_say(task: str, tmp_path: Path) -> None:
    done = rstitch("record", task, "--out", str(tmp_path / "run"), *OPTIONS)
    assert done.code == 0 and "answers" in done.out and "entropy on" not in done.out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--method", "vote"], "--method vote writes more than one answer"),
        (["--method", "llm", "--harmful"], "--harmful is about errors of the SLM alone; add"),
        (["--temperature", "1", "--harmful"], "--harmful with --temperature 1: a harmful token"),
        (["--method", "slim"], "unknown method 'slim'; known: "),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_loaded(
    task: str, tmp_path: Path, argv: list[str], message: str
) -> None:
    out, nobody = tmp_path / "run", ["--slm", "no/slm", "--llm", "no/llm"]
    assert rstitch("record", task, "--out", str(out), *argv, *nobody).line.startswith(message)
    assert not out.exists()


def test_what_is_no_recording_is_told(task: str, tmp_path: Path) -> None:
    assert "none is no run" in rstitch("analyse", str(tmp_path / "none")).line
    out = tmp_path / "eval"
    assert rstitch("eval", task, "--out", str(out), "--method", "slm", *OPTIONS).code == 0
    assert rstitch("analyse", str(out)).line.endswith(
        "is a run, but no recording; rstitch record TASK --out DIR makes one"
    )
    good = tmp_path / "run"
    rstitch("record", task, "--out", str(good), "--score-both", *OPTIONS)
    told = rstitch("analyse", str(good), "--with", str(out)).line
    assert told.endswith("has no method llm; it needs llm and speculative")


def test_ctrl_c_is_130_and_the_recording_goes_on(task: str, tmp_path: Path) -> None:
    """Interrupted while harmful tokens are looked for."""
    out = tmp_path / "run"
    argv = ["record", task, "--out", str(out), "--harmful", "--in-flight", "1", *OPTIONS]
    child = start_slowly(*argv)
    records, patience = out / "records.jsonl", time.monotonic() + 120
    while not (records.exists() and records.read_bytes().count(b'"type":"scores"') == 6):
        assert child.poll() is None and time.monotonic() < patience, child.communicate()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and b"Traceback" not in err, err.decode()
    before = records.read_bytes()
    assert before.count(b'"type":"harm"') < 3
    done = rstitch(*argv)
    assert done.code == 0, done.err
    assert records.read_bytes().startswith(before)
    assert records.read_bytes().count(b'"type":"harm"') == 3
