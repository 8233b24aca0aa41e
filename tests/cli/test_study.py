"""`rstitch study` as a person runs it, tiny models in the place of real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import rstitch
from tests.pair import pair

STUDY = """
title = "A small study"
pair = "builtin"
tasks = ["{a}", "{b}"]
budgets = [6, 12]
taus = [0.4, 0.6]
like = 0.6
controls = ["coin", "requests"]
problems = 3
samples = 4
timed = 4
in_flight = 6
seed = {seed}

[sampling]
temperature = 0.6
top_p = 0.95
"""


@pytest.fixture
def study(tmp_path: Path) -> list[str]:
    """A study of two files of problems on the tiny random pair, its SLM as the other draft too."""
    for name in ("a", "b"):
        rows = [{"id": f"{name}-{i}", "problem": f"Mia has {i}?", "answer": "3"} for i in range(5)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    begun(tmp_path, 0)
    return [
        "study", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"),
        *pair().options, "--draft", str(pair().slm),
    ]  # fmt: skip


def begun(tmp_path: Path, seed: int) -> None:
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("a", "b")}
    (tmp_path / "mine.toml").write_text(STUDY.format(seed=seed, **files))


def test_from_the_estimate_to_a_card_that_verifies(study: list[str], tmp_path: Path) -> None:
    done = rstitch(*study, "--yes")
    assert done.code == 0, done.err
    assert "A small study: about" in done.err and "hours, at most" in done.err
    assert "~s, all" in done.out and "draft: speculative" in done.out and "all tasks" in done.out
    assert "cut off 100% of the answers of llm" in done.err, "a budget that truncates is told"
    out = tmp_path / "out"
    found = json.loads((out / "table.json").read_text())
    keys = [(one["budget"], one["method"]) for one in found["lines"] if "a.jsonl" in one["task"]]
    rules = ["stitched,tau=0.4", "stitched,tau=0.6"]
    assert [m for b, m in keys if b == 6] == [
        "llm", "slm", *rules, "coin", "requests", "speculative", "draft: speculative",
    ]  # fmt: skip
    for line in found["lines"]:
        assert line["accuracy"]["answers"] == (2 if "spec" in line["method"] else 12)
        assert line["priced"]["how"].startswith("priced"), line
        assert (line["timed"] is None) == (line["method"] in ("coin", "requests"))
    runs = sorted((out / "cells").iterdir())
    assert len(runs) == 12
    checked = rstitch("report", "--verify", str(out / "card.json"))
    assert checked.code == 0 and "card.json: reproduced from" in checked.out, checked
    again = rstitch(*study, "--json")
    assert again.code == 0 and json.loads(again.out) == found, "nothing is owed, nothing asked"


def test_a_study_that_was_stopped_goes_on(
    study: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rstitch.evals import evaluate

    run, left = evaluate.run, [3]

    def stopping(*args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return run(*args)

    monkeypatch.setattr(evaluate, "run", stopping)
    stopped = rstitch(*study, "--yes")
    assert stopped.code == 130 and not (tmp_path / "out" / "table.json").exists()
    monkeypatch.undo()
    owed = rstitch(*study)
    assert owed.code == 1
    assert owed.err.rstrip().endswith("give --yes to go on, or --hours for less")
    done = rstitch(*study, "--yes")
    assert done.code == 0 and (tmp_path / "out" / "card.json").exists(), done.err
    begun(tmp_path, 1)
    assert "was begun with study.seed = 0, now it is 1" in rstitch(*study, "--yes").line


def test_nothing_is_begun_unasked_or_that_does_not_fit(study: list[str], tmp_path: Path) -> None:
    done = rstitch(*study)
    assert done.code == 1 and not (tmp_path / "out" / "study.json").exists()
    assert "hours of this machine; give --yes to go on" in done.err.splitlines()[-1]
    line = rstitch(*study, "--hours", "0.0000001", "--yes").err.splitlines()[-1]
    assert "--hours 1e-07 is too little: the least of this study takes about" in line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["paper-8b"], "unknown study 'paper-8b'; known: builtin, paper-14b, paper-32b, paper-7b"),
        (["none.toml"], "the study none.toml cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_one_line(argv: list[str], message: str, tmp_path: Path) -> None:
    assert rstitch("study", *argv, "--out", str(tmp_path / "out")).line.startswith(message)
    (tmp_path / "thesis.tex").touch()
    line = rstitch("study", "builtin", "--out", str(tmp_path)).line
    assert line.endswith("holds files but no study.json, so it is no study; name another")
