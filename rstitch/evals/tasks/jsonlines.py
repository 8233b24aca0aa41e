"""Problems of one's own: a file with `{"id": ..., "problem": ..., "answer": ...}` on each line.

    {"id": "a-1", "problem": "What is 6 x 7?", "answer": "42"}

`level` or `subject` names a row's group in tables; anything else is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rstitch.errors import BadRequest
from rstitch.evals.task import Problem, Task

SUFFIXES = (".jsonl", ".ndjson")
EXAMPLE = '{"id": "a-1", "problem": "What is 6 x 7?", "answer": "42"}'


def is_jsonlines(name: str) -> bool:
    return name.endswith(SUFFIXES)


@dataclass(frozen=True, slots=True)
class JSONLines(Task):
    name: ClassVar[str] = "jsonlines"

    path: str
    instruction: str = ""
    """What every problem is followed by, after a blank line."""

    def problems(self) -> Sequence[Problem]:
        return read_problems(Path(self.path), self.instruction)


def read_problems(path: Path, instruction: str = "", *, unanswered: bool = False) -> list[Problem]:
    """The rows of a file. Raises BadRequest naming the line that cannot be used.

    unanswered: rows may have no answer, which is then ""; all of them, or none.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}") from error
    found: dict[str, Problem] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        one = _row(path, number, line, instruction, unanswered)
        if one.id in found:
            raise BadRequest(f"{path}, line {number}: the id {one.id!r} was there before")
        first = next(iter(found.values()), one)
        if bool(first.answer) != bool(one.answer):
            has, others = ("an", "others have none") if one.answer else ("no", "others have one")
            raise BadRequest(f"{path}, line {number}: {has} answer, but {others}")
        found[one.id] = one
    if not found:
        raise BadRequest(f"{path} holds no problem; write lines such as {EXAMPLE}")
    return list(found.values())


def _row(
    path: Path, number: int, line: bytes, instruction: str, unanswered: bool = False
) -> Problem:
    try:
        row = json.loads(line)
    except ValueError:  # UnicodeDecodeError too
        raise BadRequest(
            f"{path}, line {number}: not JSON in UTF-8; a line looks like {EXAMPLE}"
        ) from None
    if not isinstance(row, dict):
        raise BadRequest(f"{path}, line {number}: not an object; a line looks like {EXAMPLE}")
    keys = ["id", "problem"] if unanswered and row.get("answer") is None else None
    texts = {key: _text(path, number, row, key) for key in keys or ("id", "problem", "answer")}
    text = f"{texts['problem']}\n\n{instruction}" if instruction else texts["problem"]
    group = row.get("level", row.get("subject", ""))
    return Problem(texts["id"], text, texts.get("answer", ""), str(group))


def _text(path: Path, number: int, row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool) and key != "problem":
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise BadRequest(f"{path}, line {number}: {key!r} is {value!r}; it must be a text")
    return value
