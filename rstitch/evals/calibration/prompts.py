"""What a calibration is made on: prompts of one's own, with answers or without, or a known task.

mine.txt       a prompt a line; blank lines are skipped
mine.jsonl     {"id": ..., "problem": ..., "answer": ...} a line; all may lack the answer
dev            any task of `rstitch eval`, with parameters: dev,seed=7
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rstitch.errors import BadRequest
from rstitch.evals import tasks
from rstitch.evals.methods import parse
from rstitch.evals.task import Problem, Task
from rstitch.evals.tasks.jsonlines import JSONLines, is_jsonlines, read_problems
from rstitch.registry import is_file


@dataclass(frozen=True, slots=True)
class Prompts:
    """Questions in an order that never changes."""

    name: str
    """As it was given."""
    problems: tuple[Problem, ...]
    task: Task | None
    """Grades them; None where there are no answers to grade by."""

    @property
    def labelled(self) -> bool:
        return self.task is not None


def read(name: str) -> Prompts:
    """Raises BadRequest that names the file and line, or lists the known tasks."""
    task, params = parse(name)
    if is_jsonlines(task):
        instruction = str(params.get("instruction", ""))
        made = tasks.make(task, **params)
        rows = read_problems(Path(task), instruction, unanswered=True)
        assert isinstance(made, JSONLines)
        return Prompts(name, tuple(rows), made if rows[0].answer else None)
    if not is_file(task) and (Path(name).is_file() or Path(name).suffix == ".txt"):
        return Prompts(name, tuple(_lines(Path(name))), None)
    known = tasks.make(task, **params)
    return Prompts(name, tuple(known.problems()), known)


def _lines(path: Path) -> Sequence[Problem]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise BadRequest(f"{path}, line {number}: not UTF-8; save the file as UTF-8") from None
        if text:
            found.append(Problem(f"line-{number}", text, ""))
    if not found:
        raise BadRequest(f"{path} holds no prompt; write one a line")
    return found
