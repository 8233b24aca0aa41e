"""From the bytes of a body to a request's fields, or to a refusal that names the field."""

from __future__ import annotations

import difflib
import json
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.errors import Problem, bad
from rstitch.server.fields import Fields

F = TypeVar("F", bound=Fields)

MANY = 1000
"""Wrong values above which none is looked for: a million bytes may hold as many, and to tell of
each takes seconds in which nothing else runs."""
KINDS = (Chat, Completion)
SHOWN = 60
"""Characters of a wrong value that are repeated."""


def parse(kind: type[F], body: bytes) -> F:
    """Raises Problem (400) for what is no JSON, no object, or has a wrong or unknown field."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > MANY:
            told = f"the body has {error.error_count()} wrong values"
            raise bad(f"{told}; docs/serving.md has the fields") from None
        details = error.errors(include_url=False, include_context=False)
    raise _refusal(kind, body, details)


def _refusal(kind: type[F], body: bytes, details: list[ErrorDetails]) -> Problem:
    if details[0]["type"] == "json_invalid":
        return bad(f"the body is no JSON: {details[0]['msg'].partition(': ')[2]}", code="bad_json")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return bad("the body is no JSON that can be read", code="bad_json")
    if not isinstance(content, dict):
        return bad("the body is no JSON object; send one such as {}", code="bad_json")
    found = [(_path(content, one["loc"], one["type"] == "missing"), one) for one in details]
    path, worst = max(found, key=_telling)
    name = ".".join(map(str, path))
    if worst["type"] == "none_required":
        return bad(_unknown(kind, str(path[-1]), name, len(path) == 1), name, "unknown_field")
    if worst["type"] == "missing":
        return bad(f"{name} is missing", name, "missing_field")
    return bad(f"{name} is {_short(worst['input'])}; {_told(worst)}", name, "bad_value")


def _telling(found: tuple[list[int | str], ErrorDetails]) -> tuple[bool, int]:
    """Of a value that may be of several kinds: what is wrong with the kind that it is tells more
    than which kinds it is not."""
    path, error = found
    return not error["type"].endswith("_type"), len(path)


def _path(content: Any, loc: tuple[int | str, ...], missing: bool) -> list[int | str]:
    """The steps of a location that are in the body, or should be; names of union members are
    not."""
    path: list[int | str] = []
    for at, step in enumerate(loc):
        inside = isinstance(content, dict) and step in content
        within = isinstance(content, list) and isinstance(step, int) and step < len(content)
        if inside or within:
            content = content[step]
            path.append(step)
        elif missing and at == len(loc) - 1:
            path.append(step)
    return path


def _unknown(kind: type[Fields], step: str, name: str, outside: bool) -> str:
    close = difflib.get_close_matches(step, kind.model_fields, n=1) if outside else []
    theirs = [one.route for one in KINDS if outside and step in one.model_fields]
    hint = "docs/serving.md lists the known ones"
    if theirs:
        hint = f"it is one of {theirs[0]}"
    elif close:
        hint = f"did you mean {close[0]}?"
    return f"unknown field {name[:SHOWN]!r}; {hint}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _told(error: ErrorDetails) -> str:
    message = error["msg"].partition(" after validation")[0]
    starts = {
        "Input should be ": "it must be ", "Value error, ": "",
        "String should ": "it should ", "List should ": "it should ",
    }  # fmt: skip
    for start, ours in starts.items():
        if message.startswith(start):
            return ours + message.removeprefix(start)
    return message[:1].lower() + message[1:]
