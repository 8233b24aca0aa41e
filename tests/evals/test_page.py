"""docs/evaluation.md: its example runs as it stands, and it names every task and method."""

from __future__ import annotations

import re
from pathlib import Path

from rstitch.evals import tasks
from rstitch.evals.methods import METHODS
from rstitch.evals.verify import Verifier

PAGE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")


def test_the_example(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "sums.py").write_text(code)
    task = tasks.make(f"{tmp_path / 'sums.py'}:Sums", upto=5)
    last = task.problems()[-1]
    assert (last.id, last.answer) == ("sum-4", "21")
    assert task.is_right(last, "\\boxed{21}", Verifier(), False)


def test_the_page_lists_every_task_and_every_method() -> None:
    named = set(re.findall(r"`([\w-]+)`", PAGE))
    assert named >= {*tasks.TASKS.built_in, *METHODS.built_in, "llm", "slm"}
