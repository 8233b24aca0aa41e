"""A setting: one field of a configuration dataclass, and how its value is read and written.

A field's annotation says what it takes, its docstring what it is for, its default is written there
and nowhere else. So the file, the environment, the flags and the documentation cannot disagree.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

TRUTHS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False, "no": False, "off": False, "0": False
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """One field. Its name is unique among all tables."""

    table: str
    name: str
    kind: Any
    """The field's resolved annotation."""
    default: Any
    help: str
    """The field's docstring on one line."""

    @property
    def variable(self) -> str:
        return f"RSTITCH_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def needs(self) -> str:
        """What a value must be, in words."""
        return " or ".join(_words(kind) for kind in _members(self.kind) if kind is not NoneType)

    def read(self, value: Any) -> Any:
        """A value as a TOML file or a parsed flag gives it. Raises ValueError if it is another."""
        for kind in _members(self.kind):
            if _is(kind, value):
                return _plain(kind, value)
        raise ValueError(self.needs)

    @property
    def optional(self) -> bool:
        return NoneType in _members(self.kind)

    def parse(self, text: str) -> Any:
        """A value as a variable or a flag gives it. Raises ValueError if it is another."""
        for kind in _members(self.kind):
            value = _from_text(kind, text)
            if value is not None and _is(kind, value):
                return value
        raise ValueError(self.needs)


def settings(table: str, group: type[Any]) -> Iterator[Setting]:
    """Those of a dataclass whose fields all have defaults."""
    hints, helps = get_type_hints(group), _docstrings(group)
    for field in fields(group):
        yield Setting(table, field.name, hints[field.name], field.default, helps[field.name])


def written(value: Any) -> str:
    """As TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str | bool):  # JSON's escapes are TOML's, but for this one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        *others, last = (repr(choice) for choice in get_args(kind))
        return f"{', '.join(others)} or {last}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(
        kind, "a list of texts"
    )


def _is(kind: Any, value: Any) -> bool:
    """Whether that is a value of this kind; a truth value is no number, and a whole number is."""
    if kind is NoneType:
        return value is None
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_is(str, item) for item in value)
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind and (kind is not str or _is_utf8(value))


def _is_utf8(text: str) -> bool:
    """A variable that is no UTF-8 holds lone surrogates, which cannot be printed."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _plain(kind: Any, value: Any) -> Any:
    if kind is float:
        return float(value)
    return tuple(value) if get_origin(kind) is tuple else value


def _from_text(kind: Any, text: str) -> Any:
    """The text as that kind; None where it is none."""
    if kind is bool:
        return TRUTHS.get(text.strip().lower())
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return None
    if get_origin(kind) is tuple:
        return tuple(item.strip() for item in text.split(",") if item.strip())
    return None if kind is NoneType else text


def _docstrings(group: type[Any]) -> dict[str, str]:
    """The text under each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(group))).body
    assert isinstance(tree, ast.ClassDef)
    found = {field.name: "" for field in fields(group)}
    for one, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[one.target.id] = " ".join(str(after.value.value).split())
    return found
