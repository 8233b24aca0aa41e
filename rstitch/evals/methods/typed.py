"""Parameters as their fields say, whatever a command line or a JSON file made of them."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Union, get_args, get_origin, get_type_hints

from rstitch.errors import BadRequest

TRUTH = {"true": True, "false": False}
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
PLAIN = {*NAMES, types.NoneType}


def typed(name: str, kind: type[Any], params: dict[str, Any]) -> dict[str, Any]:
    """The same as booleans, whole numbers, numbers and texts, and lists, which is what JSON makes
    of tuples, as tuples again. Raises BadRequest naming the field."""
    hints = _hints(kind)
    return {key: _value(name, key, frozen(value), hints.get(key)) for key, value in params.items()}


def frozen(value: Any) -> Any:
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def _hints(kind: type[Any]) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except Exception:  # names that only a type checker knows: those fields stay as they are
        return {field.name: field.type for field in dataclasses.fields(kind)}


def _value(name: str, key: str, value: Any, hint: Any) -> Any:
    union = get_origin(hint) in (Union, types.UnionType)
    kinds = set(get_args(hint)) if union else {hint}
    if type(value) in kinds or not kinds & set(NAMES):
        return value
    found = _as(value, kinds)
    if found is None and not kinds <= PLAIN:
        return value
    if found is None:
        wanted = " or ".join(NAMES[one] for one in NAMES if one in kinds)
        raise BadRequest(f"{name}: {key} is {value!r}; it must be {wanted}")
    return found


def _as(value: Any, kinds: set[Any]) -> bool | int | float | str | None:
    """The value as one of these kinds; None where it is none."""
    if isinstance(value, bool):
        return None
    if bool in kinds and isinstance(value, str) and value.lower() in TRUTH:
        return TRUTH[value.lower()]
    if float in kinds and isinstance(value, int):
        return value  # -1 is as good as -1.0, and is shown as it was given
    if int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    if str in kinds and isinstance(value, int | float):
        return str(value)
    return None
