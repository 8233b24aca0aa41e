"""WHO writes the next token: one small file per rule, found by name."""

from __future__ import annotations

from typing import Any

from rstitch.policy.base import Policy
from rstitch.policy.registry import REGISTRY, build, find, from_file, is_file


def make(name: str, **params: Any) -> Policy:
    """The built-in or installed policy of that name. Runs no file: a trace may say any name.

    Raises BadRequest that lists the known names or parameters.
    """
    return build(find(name), name, params)


def load(name: str, **params: Any) -> Policy:
    """As `make`, and `path.py:Class` too, whose code is run: only for names that a user gave."""
    return build(find_or_run(name), name, params)


def find_or_run(name: str) -> type[Policy]:
    """The class of that name; runs a file so named, so only for names that a user gave."""
    return from_file(name) if is_file(name) else find(name)


__all__ = ["REGISTRY", "Policy", "find_or_run", "load", "make"]
