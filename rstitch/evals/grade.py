"""Whether an answer is right: extract, normalise, and where plain equality fails, verify.

One extractor and one comparer for every task. Problems of the built-in pair have whole numbers as
answers and are held to the letter (`is_right`).
"""

from __future__ import annotations

from rstitch.evals.extract import answer_of as final_answer
from rstitch.evals.extract import letter_of
from rstitch.evals.normal import LONGEST, normal, number
from rstitch.evals.verify import Verifier
from rstitch.text import boxed

DEEPEST = 40
"""Nested brackets; parsers recurse on them."""

__all__ = ["final_answer", "is_equal", "is_hostile", "is_right", "letter_of"]


def is_right(text: str, answer: int) -> bool:
    r"""The last `\boxed{...}` of the text is that number; all else is wrong, never an error."""
    found = boxed(text)
    return found is not None and found.strip() == str(answer)


def is_equal(found: str | None, gold: str, verifier: Verifier) -> bool:
    """Whether an extracted answer means the gold one. Never an error, and never endless."""
    if found is None or not found.strip():
        return False
    ours, theirs = normal(found), normal(gold)
    if ours == theirs:
        return True
    if number(ours) is not None and number(theirs) is not None:
        return _percent(found, gold, ours, theirs)
    return not is_hostile(found) and verifier.equal(gold, found)


def _percent(found: str, gold: str, ours: str, theirs: str) -> bool:
    """50% is 0.5 too, where one of the two was written without the sign."""
    if ("%" in found) == ("%" in gold):
        return False
    a, b = number(ours), number(theirs)
    assert a is not None and b is not None
    return a / 100 == b if "%" in found else b / 100 == a


def is_hostile(text: str) -> bool:
    """Too long or too deep to be an answer, so that no parser is asked about it."""
    if len(text) > LONGEST:
        return True
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    return deepest > DEEPEST
