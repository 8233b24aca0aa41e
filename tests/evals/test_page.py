"""docs/evaluation.md: its examples run as they stand, and it names every task and method."""

from __future__ import annotations

import re
from pathlib import Path

from rstitch.evals import tasks
from rstitch.evals.methods import METHODS
from rstitch.evals.verify import Verifier
from tests.evals.doubles import plan, run

PAGE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")


TASK, METHOD = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_method(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    chosen = plan("llm", f"{tmp_path / 'mine.py'}:Twice,words=They say:", in_flight=2)
    found = run(chosen, tmp_path / "run")
    tokens = [(r["slm_tokens"], r["llm_tokens"]) for r in found.records if r["type"] == "answer"]
    assert tokens == [(0, 12)] * 3 + [(12, 12)] * 3


def test_the_task(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(TASK)
    task = tasks.make(f"{tmp_path / 'sums.py'}:Sums", upto=5)
    last = task.problems()[-1]
    assert (last.id, last.answer) == ("sum-4", "21")
    assert task.is_right(last, "\\boxed{21}", Verifier(), False)


def test_the_page_lists_every_task_and_every_method() -> None:
    named = set(re.findall(r"`([\w-]+)`", PAGE))
    assert named >= {*tasks.TASKS.built_in, *METHODS.built_in, "llm", "slm"}
