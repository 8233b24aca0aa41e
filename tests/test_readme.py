"""The commands of the README and of docs/README.md are run, and the Python block; what the pair
answers is graded.

Left out are what installs or takes long, and what names somebody else's models.
"""

from __future__ import annotations

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import rstitch as package
from rstitch.evals.grade import is_right
from rstitch.pairs.recipe.splits import problems
from tests.cli.terminal import rstitch

REPO = Path(__file__).parents[1]
README = (REPO / "README.md").read_text(encoding="utf-8")
DOCS = (REPO / "docs" / "README.md").read_text(encoding="utf-8")
ELSEWHERE = ("PATH", "PATH.py:Rule", "qwq-32b", "paper-7b", "mine.txt")
"""Words of commands about models and files that are not here."""
FEWER = {"100": "2"}
"""Problems of an evaluation."""
LONG = ("rstitch demo", "rstitch serve", "rstitch plan")
"""Run by tests/cli/test_demo.py on fewer problems, by tests/server/test_ending.py until a signal,
and by tests/cli/test_plan.py."""


def commands() -> list[list[str]]:
    """Arguments of each `rstitch` command that can be run here, in order."""
    text = [*README.splitlines(), *DOCS.splitlines()]
    lines = [line.strip() for line in text if line.startswith("    rstitch ")]
    split = dict.fromkeys(tuple(shlex.split(line, comments=True)) for line in lines)
    return [
        [FEWER.get(word, word) for word in words[1:]]
        for words in split
        if not set(words) & set(ELSEWHERE) and " ".join(words) not in LONG
    ]


def python() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def gold() -> dict[str, int]:
    """Answers of held-out problems of the kinds that the pair was trained on."""
    return {problem.question: problem.answer for problem in problems("dev")}


def asked() -> list[str]:
    """Every question that the commands and the Python block ask, once."""
    questions = [words[-1] for words in commands() if words[0] == "generate"]
    return list(dict.fromkeys([*questions, question_in_python()]))


def question_in_python() -> str:
    (question,) = re.findall(r'"([^"]*\?)"', python())
    return str(question)


def test_the_readme_asks_what_the_pair_was_trained_for(gold: dict[str, int]) -> None:
    questions = asked()
    assert len(questions) >= 3
    assert [question for question in questions if question not in gold] == []


def test_both_the_llm_alone_and_the_pair_answer_rightly(gold: dict[str, int]) -> None:
    with package.load() as pair:
        for question in asked():
            for policy in ("llm", None):
                answer = pair.generate(question, policy=policy)
                assert is_right(answer.text, gold[question]), (policy, question, answer.text)


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gold: dict[str, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = commands()
    assert {words[0] for words in found} >= {"generate", "explain", "pairs", "sweep", "analyse"}
    for words in found:
        done = rstitch(*words)
        assert done.code == 0, (words, done)
        if words[0] == "generate":
            assert is_right(done.out, gold[words[-1]]), (words, done)


def test_the_python_block(gold: dict[str, int]) -> None:
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(python(), "README.md", "exec"), {})
    question = question_in_python()
    first, numbers, *pieces = out.getvalue().splitlines()
    assert is_right(first, gold[question]), first
    share, handoffs = map(float, numbers.split())
    assert 0 < share < 1 and handoffs >= 2
    assert {line.split()[0] for line in pieces} == {"slm", "llm"}
