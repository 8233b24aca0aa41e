"""What tells two answers apart before algebra is asked, which drops words, bases, and order.

math-verify finds `12_{8}` equal to 12, `4=5` to 5, `1,2,2` and `(2,1)` to `1,2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from rstitch.evals.normal import SCALES, normal, number

_MARKUP = re.compile(r"\\left(?![a-z])|\\right(?![a-z])|\\[()\[\],;:! ]|\$")
_JOINED = re.compile(r"\\(?:text|mathrm|mbox)\s*\{\s*(?:and|or)\s*\}|\b(?:and|or)\b")
_BASE = re.compile(r"\d\s*_\s*\{?\s*(\d+)[\s.})\\]*$")
_SCALED = re.compile(rf"\b(?:{'|'.join(SCALES)})s?\b", re.IGNORECASE)
_DIGITS_APART = re.compile(r"\d \d")
_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")
_EQUALS = re.compile(r"(?<![<>\\])=|\\in(?![a-z])")
OPEN, CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Listed:
    """An answer as a list of answers; one item where it is none."""

    items: tuple[str, ...]
    bracket: str
    """What the list stands in: "(", "[", "{", or nothing."""
    countable: bool
    """No item stands for several, and none is a piece of a number."""


def clash(found: str, gold: str) -> bool:
    """Whether two texts that are not the same cannot mean the same."""
    ours, theirs = normal(found), normal(gold)
    if _ends(_BASE, found) != _ends(_BASE, gold) or _no_equation(found):
        return True
    if bool(_SCALED.search(found)) != bool(_SCALED.search(gold)):
        return True
    return bool(_DIGITS_APART.search(ours)) != bool(_DIGITS_APART.search(theirs))


def listed(text: str) -> Listed:
    bare = _JOINED.sub(",", _MARKUP.sub(" ", text)).strip().rstrip(".").strip()
    items = _split(bare)
    if len(items) == 1:
        bare = _EQUALS.split(bare)[-1].strip().removesuffix("\\}") + "}" * bare.endswith("\\}")
        bare = bare.removeprefix("\\")
    countable = "\\pm" not in text and "\\mp" not in text and not _THOUSANDS.search(text)
    if len(items) > 1 or not _is_wrapped(bare):
        return Listed(items, "", countable)
    return Listed(_split(bare[1:-1]), bare[0], countable)


def _split(text: str) -> tuple[str, ...]:
    """At the commas that stand in no bracket."""
    cuts = [-1, *(i for i, depth in _depths(text) if depth == 0 and text[i] == ","), len(text)]
    parts = (text[a + 1 : b].strip() for a, b in pairwise(cuts))
    return tuple(part for part in parts if part)


def _is_wrapped(text: str) -> bool:
    """Whether the first bracket closes at the end."""
    inside = all(depth > 0 for _, depth in _depths(text[:-1]))
    return text[:1] in ("(", "[", "{") and text[-1:] in (")", "]", "}") and inside


def _depths(text: str) -> Iterator[tuple[int, int]]:
    depth = 0
    for i, character in enumerate(text):
        depth += (character in OPEN) - (character in CLOSE)
        yield i, depth


def _ends(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text.strip().strip("$"))
    return match[1] if match else None


def _no_equation(text: str) -> bool:
    """Numbers that are said to be equal and are not."""
    parts = text.strip().strip("$").split("=")
    values = {value for part in parts if (value := number(normal(part))) is not None}
    return len(parts) > 1 and len(values) > 1
