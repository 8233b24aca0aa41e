"""Tasks by name, by file of problems and by file of code; what is wrong with them is one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.evals import tasks
from rstitch.evals.task import BOXED, fingerprint
from rstitch.evals.tasks import hub
from rstitch.evals.tasks.hub_sets import ARC, MATH500
from rstitch.evals.verify import Verifier
from rstitch.pairs.recipe.splits import problems as drawn

GOOD = {"id": "a-1", "problem": "What is 6 x 7?", "answer": "42"}


def lines(path: Path, *rows: Any) -> str:
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return str(path)


# -- files ----------------------------------------------------------------------------------------


def test_a_file_of_problems(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "mine.jsonl", {**GOOD, "level": 3, "more": 1}, "", {**GOOD, "id": 2, "answer": 7}
    )
    first, second = tasks.make(path).problems()
    assert (first.id, first.text, first.answer, first.group) == (*GOOD.values(), "3")
    assert (second.id, second.answer, second.group) == ("2", "7", "")
    told = tasks.make(path, instruction="Be exact.").problems()[0].text
    assert told == "What is 6 x 7?\n\nBe exact."


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "line 2: not JSON in UTF-8"),
        ("[1]", "line 2: not an object"),
        ({"id": "x", "problem": "Why?"}, "line 2: 'answer' is None; it must be a text"),
        ({**GOOD, "id": "x", "problem": " "}, "line 2: 'problem' is ' '"),
        ({**GOOD, "id": "x", "answer": True}, "line 2: 'answer' is True"),
        (GOOD, "line 2: the id 'a-1' was there before"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, bad: Any, message: str) -> None:
    path = lines(tmp_path / "mine.jsonl", GOOD, bad)
    with pytest.raises(BadRequest, match=message) as error:
        tasks.make(path).problems()
    assert path in str(error.value) and "\n" not in str(error.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "bytes.jsonl").write_bytes(b'{"id": "\xff"}\n')
    (tmp_path / "empty.jsonl").write_bytes(b"\n")
    for name, message in (
        ("bytes", "line 1: not JSON in UTF-8"),
        ("empty", "holds no problem"),
        ("none", "cannot read .*: No such file"),
    ):
        with pytest.raises(BadRequest, match=message):
            tasks.make(str(tmp_path / f"{name}.jsonl")).problems()


CODE = """
from dataclasses import dataclass
from rstitch.evals.task import Problem, Task

@dataclass(frozen=True)
class Sums(Task):
    upto: int = 3
    def problems(self):
        return [Problem(f"s-{i}", f"1 + {i}?", str(1 + i)) for i in range(self.upto)]
"""


def test_a_class_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(CODE)
    task = tasks.make(f"{tmp_path / 'sums.py'}:Sums", upto=2)
    assert [one.answer for one in task.problems()] == ["1", "2"]
    assert task.spec() == {"name": f"{tmp_path / 'sums.py'}:Sums", "upto": 2}
    assert task.is_right(task.problems()[1], "<think>3</think> it is 2", Verifier(), False)


# -- names ----------------------------------------------------------------------------------------


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(
        BadRequest, match="unknown task 'aime'; known: aime24, aime25, amc23,.*test"
    ):
        tasks.make("aime")


def test_the_built_in_splits() -> None:
    found, expected = tasks.make("ood-depth").problems(), drawn("ood-depth", 10)
    assert [one.text for one in found[:10]] == [one.question for one in expected]
    assert (found[7].id, found[7].group) == ("ood-depth-00007", f"level {expected[7].level}")
    answer = expected[7].answer
    task = tasks.make("ood-depth", seed=1)
    assert fingerprint(task.problems()) != fingerprint(found)
    for text, right in ((f"\\boxed{{{answer}}}", True), (f"the answer is {answer}", False)):
        assert task.is_right(found[7], text, Verifier(), False) is right
    with pytest.raises(BadRequest, match="task 'dev' has no parameter 'sed'; it takes seed"):
        tasks.make("dev", sed=1)


# -- the hub --------------------------------------------------------------------------------------

ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "aime24": ({"problem": "P", "answer": "204"}, "P", "204"),
    "aime25": ({"problem": "P", "answer": "70"}, "P", "70"),
    "amc23": ({"question": "P", "answer": 27.0}, "P", "27"),
    "amc83": ({"problem": "P", "answer": 142.0}, "P", "142"),
    "math500": ({"problem": "P", "answer": "p - q", "level": 2}, "P", "p - q"),
    "minerva": ({"question": "P", "answer": "1.6"}, "P", "1.6"),
    "olympiadbench": ({"question": "P", "final_answer": ["2", "3"]}, "P", "2, 3"),
    "gsm8k": ({"question": "P", "answer": "9 eggs\n#### 1,234"}, "P", "1234"),
    "arc": (
        {"question": "P", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
        "P\nA. x\nB. y",
        "B",
    ),
}


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """In the place of the library: `load_dataset` gives the rows that a test puts there."""
    module = ModuleType("datasets")
    module.disable_progress_bars = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "find_spec", lambda name: object())
    return module


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_of_a_public_set(name: str, datasets: ModuleType) -> None:
    row, question, answer = ROWS[name]
    asked = []

    def load_dataset(*where: Any, split: str) -> list[dict[str, Any]]:
        asked.append((*where, split))
        return [row, row]

    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    first, second = tasks.make(name).problems()
    assert (first.id, second.id) == (f"{name}-0", f"{name}-1")
    assert first.answer == answer and first.text.startswith(f"{question}\n\nPlease reason")
    assert first.text.endswith(BOXED) or name == "arc"
    ((source, config, split),) = asked
    assert "/" in source and split in ("test", "train") and config != ""


def test_every_named_set_has_a_row_here() -> None:
    named = {name for name, where in tasks.TASKS.built_in.items() if "hub_sets" in where}
    assert named == set(ROWS)


def test_a_letter_is_graded_as_a_letter(datasets: ModuleType) -> None:
    datasets.load_dataset = lambda *where, split: [ROWS["arc"][0]]  # type: ignore[attr-defined]
    (problem,) = ARC().problems()
    right = [ARC().is_right(problem, text, Verifier(), False) for text in ("\\boxed{B}", "(A)", "")]
    assert right == [True, False, False]
    for text in ("The answer is J, no, B", "The answer is (B), plan C", "\\boxed{C or B}"):
        assert ARC().is_right(problem, text, Verifier(), False), f"C and J are no choices: {text}"


def test_a_set_that_has_changed(datasets: ModuleType) -> None:
    datasets.load_dataset = lambda *where, split: [{"text": "P"}]  # type: ignore[attr-defined]
    with pytest.raises(BadRequest, match="openai/gsm8k, row 0: not as gsm8k expects it"):
        tasks.make("gsm8k").problems()


class GatedRepoError(OSError):
    """By the name of the hub's own."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no route\nto host"), "cannot be had: no hub in reach and it is not in"),
        (GatedRepoError("401"), "is gated on the hub; accept its terms"),
        (ValueError("odd\nfile"), "cannot be read from the hub: ValueError: odd$"),
    ],
)
def test_a_hub_that_says_no(datasets: ModuleType, error: Exception, message: str) -> None:
    def load_dataset(*where: Any, split: str) -> Any:
        raise error

    datasets.load_dataset = load_dataset  # type: ignore[attr-defined]
    with pytest.raises(BadRequest, match=message) as found:
        tasks.make("math500").problems()
    assert "\n" not in str(found.value)


def test_without_datasets_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match=r"datasets, which is not installed: pip install rstitch"):
        tasks.make("aime24").problems()


def test_offline_with_the_library_itself() -> None:
    """The tests run with the hub switched off."""
    pytest.importorskip("datasets", reason="needs rstitch[eval]")
    with pytest.raises(BadRequest, match="math-ai/aime25 cannot be had: no hub in reach") as found:
        tasks.make("aime25").problems()
    assert "\n" not in str(found.value)


def test_rows_as_the_library_itself_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory stands for the hub: the library reads both with one call."""
    pytest.importorskip("datasets", reason="needs rstitch[eval]")
    rows = [{"problem": f"P{i}", "answer": str(i), "level": i} for i in range(3)]
    lines(tmp_path / "test.jsonl", *rows)
    monkeypatch.setattr(MATH500, "source", str(tmp_path))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    found = tasks.make("math500").problems()
    assert [(one.id, one.answer, one.group) for one in found] == [
        (f"math500-{i}", str(i), str(i)) for i in range(3)
    ]
