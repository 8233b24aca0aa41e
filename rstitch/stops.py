"""What ends an answer beside the models' own end of text, as callers give it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rstitch.errors import BadRequest


def _items(name: str, value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, Iterable):
        raise BadRequest(f"{name} is {value!r}; it must be a list of {what}")
    return tuple(value)


def token_ids(given: Iterable[int]) -> frozenset[int]:
    ids = _items("stop_token_ids", given, "token ids")
    for token in ids:
        if not isinstance(token, int) or token < 0:
            raise BadRequest(f"stop_token_ids has {token!r}; it must be token ids, from 0 on")
    return frozenset(ids)


def texts(stop: str | Sequence[str]) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else _items("stop", stop, "texts")
    if not all(isinstance(text, str) for text in stops):
        raise BadRequest(f"stop is {stop!r}; it must be a text or several")
    if "" in stops:
        raise BadRequest("a stop string is empty; give at least one character")
    return stops
