"""Prompts of a calibration: what is read, and what is refused by its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rstitch.errors import BadRequest
from rstitch.evals.calibration import prompts


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return str(path)


def test_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffWhat is 1 + 1?\r\n\n  What, of 2, is half?\n".encode())
    found = prompts.read(str(path))
    assert [(one.id, one.text) for one in found.problems] == [
        ("line-1", "What is 1 + 1?"), ("line-3", "What, of 2, is half?"),
    ]  # fmt: skip
    assert not found.labelled


def test_json_lines_with_answers_and_without(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    labelled = prompts.read(jsonl(path, {"id": "a", "problem": "2 x 3?", "answer": 6}))
    assert labelled.labelled and labelled.problems[0].answer == "6"
    bare = prompts.read(jsonl(path, {"id": "a", "problem": "2?"}, {"id": "b", "problem": "3?"}))
    assert not bare.labelled and len(bare.problems) == 2


def test_a_task_by_its_name() -> None:
    found = prompts.read("dev,seed=3")
    assert found.labelled and len(found.problems) == 2000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], "line 1: not JSON in UTF-8"),
        ([{"id": "a", "problem": "x"}, [1]], "line 2: not an object"),
        ([{"id": "a", "problem": "x"}, {"id": "b"}], "line 2: 'problem' is None"),
        ([{"id": "a", "problem": "x"}, {"id": "a", "problem": "y"}], "line 2: the id 'a' was"),
        (
            [{"id": "a", "problem": "x", "answer": "1"}, {"id": "b", "problem": "y"}],
            "line 2: no answer, but others have one",
        ),
        ([{"id": "a", "problem": "x", "answer": " "}], "line 1: 'answer' is ' '; it must be"),
        ([], "holds no problem"),
    ],
)
def test_broken_rows_by_their_line(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadRequest) as error:
        prompts.read(jsonl(tmp_path / "mine.jsonl", *rows))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no prompt"), (b" \n\n", "holds no prompt"), (b"a\n\xff\n", "line 2: not UTF-8")],
)
def test_broken_text(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(BadRequest, match=message):
        prompts.read(str(tmp_path / "mine.txt"))


def test_what_is_neither_file_nor_task() -> None:
    with pytest.raises(BadRequest, match="cannot read no.txt: No such file"):
        prompts.read("no.txt")
    with pytest.raises(BadRequest, match="unknown task 'mine'; known: "):
        prompts.read("mine")
