"""Checks of single values, each a refusal that begins with the setting's name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rstitch.errors import BadRequest


def within(
    name: str, value: float | None, least: float | None, most: float | None = None, *,
    above: bool = False,
) -> None:  # fmt: skip
    """Refuse a value outside of that; None is not there, on either side."""
    if value is None:
        return
    low = least is None or (value > least if above else value >= least)
    if low and (most is None or value <= most):
        return
    words = [f"{'above' if above else 'at least'} {least}"] if least is not None else []
    words += [f"at most {most}"] if most is not None else []
    raise BadRequest(f"{name} is {value}; it must be {' and '.join(words)}")


def named(name: str, value: str | None) -> None:
    """Refuse a name that nobody could write in a URL or a line of a log."""
    if value is not None and not (value and value.isprintable() and " " not in value):
        raise BadRequest(f"{name} is {value!r}; it must have characters, and no spaces among them")


def policies(names: tuple[str, ...]) -> None:
    """Refuse one that nobody knows, with the nearest known one."""
    if not names:
        return
    from rstitch.policy.registry import POLICIES  # loads torch

    known = POLICIES.known()
    for name in names:
        if name not in known:
            raise BadRequest(f"policies has {name!r}; {nearest(name, known)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the likeliest of the known names, or all of them."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
