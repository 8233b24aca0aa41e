"""`rstitch explain`: exit 0 for what is reproduced, 1 and the place for what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rstitch import trace as traces
from rstitch.trace import Trace
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, stitch

TOKENS = 12


@pytest.fixture
def answers() -> list[Trace]:
    """Two honest ones."""
    found = stitch().batch([QUESTION, "Why?"], max_tokens=TOKENS)
    return [replace(answer.trace, id=f"a{i}") for i, answer in enumerate(found)]


def saved(path: Path, found: list[Trace]) -> str:
    with path.open("w", encoding="utf-8") as file:
        traces.write(found, file)
    return str(path)


def lie(answer: Trace, index: int) -> None:
    answer.proposals[index] = replace(
        answer.proposals[index], keep=not answer.proposals[index].keep
    )


def test_honest_answers(tmp_path: Path, answers: list[Trace]) -> None:
    done = rstitch("explain", saved(tmp_path / "t", answers), "--no-show")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"{answer.id}: {len(answer.proposals)} decisions reproduced" for answer in answers
    ]


def test_the_answers_are_shown_without_colour_off_the_terminal(
    tmp_path: Path, answers: list[Trace]
) -> None:
    for answer in answers:
        answer.texts = ["word "] * len(answer.texts)
    done = rstitch("explain", saved(tmp_path / "t", answers))
    kept = sum(p.keep for p in answers[0].proposals)
    assert kept == TOKENS
    assert done.out.startswith("word " * kept + "\na0: ")
    assert done.out.splitlines()[-1].startswith("SLM  LLM")
    assert "\x1b" not in done.out


def test_a_manipulated_answer_exits_1_and_the_others_are_still_checked(
    tmp_path: Path, answers: list[Trace]
) -> None:
    lie(answers[0], 3)
    done = rstitch("explain", saved(tmp_path / "t", answers), "--no-show")
    first, second = done.out.splitlines()
    assert (done.code, done.err) == (1, "")
    assert first.startswith(
        f"a0: NOT reproduced: decision 3 of {len(answers[0].proposals)} recorded: "
    )
    assert second == f"a1: {len(answers[1].proposals)} decisions reproduced"


def test_json(tmp_path: Path, answers: list[Trace]) -> None:
    answers[0].end = {}
    lie(answers[1], 5)
    done = rstitch("explain", saved(tmp_path / "t", answers), "--json")
    honest, dishonest = json.loads(done.out)
    assert done.code == 1 and done.out.count("\n") == 1
    assert honest == {
        "id": "a0",
        "policy": answers[0].policy,
        "decisions": len(answers[0].proposals),
        "complete": False,
        "difference": None,
        "at": None,
        "record": None,
    }
    assert dishonest["complete"] and dishonest["at"] == 5 and dishonest["record"] == "decision"
    assert dishonest["difference"].startswith("recorded: ")


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path, answers: list[Trace]) -> None:
    path = tmp_path / "t"
    assert rstitch("explain", str(path)).line.startswith(f"cannot read {path}: No such file")
    path.write_text("hello\n" * 2)
    assert rstitch("explain", str(path)).line.startswith(f"{path}, line 1: not a trace record")
    path.write_text("")
    assert rstitch("explain", str(path)).line == f"{path} holds no trace"
    answers[0].policy = {"name": "oracle", "tau": 0.1}
    message = rstitch("explain", saved(path, answers)).line
    assert message.startswith("a0: its policy cannot be run again: unknown policy 'oracle'; known:")
    answers[0].policy = {"name": "confidence", "threshold": 0.5}
    message = rstitch("explain", saved(path, answers)).line
    assert "a0, decision 0: the signal 'max_prob' that policy 'confidence' reads" in message


def test_an_id_that_looks_like_markup(tmp_path: Path, answers: list[Trace]) -> None:
    answer = replace(answers[0], id="[/bold]")
    done = rstitch("explain", saved(tmp_path / "t", [answer]))
    assert done.code == 0 and "[/bold]: " in done.out
