"""WHO writes the next token: one small file per rule, found by name."""

from __future__ import annotations

from typing import Any

from rstitch.policy.base import Policy
from rstitch.policy.registry import REGISTRY, build, find, find_or_run


def make(name: str, **params: Any) -> Policy:
    """The built-in or installed policy of that name. Runs no file: a trace may say any name.

    Raises BadRequest that lists the known names or parameters.
    """
    return build(find(name), name, params)


def load(name: str, **params: Any) -> Policy:
    """As `make`, and `path.py:Class` too, whose code is run: only for names that a user gave."""
    return build(find_or_run(name), name, params)


__all__ = ["REGISTRY", "Policy", "find_or_run", "load", "make"]
