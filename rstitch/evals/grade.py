"""Whether an answer is right: extract, normalise, and where plain equality fails, verify.

One extractor and one comparer for every task. Problems of the built-in pairs have a whole number or
a word as answer and are held to the letter (`is_right`).
"""

from __future__ import annotations

from rstitch.evals.extract import answer_of as final_answer
from rstitch.evals.extract import letter_of
from rstitch.evals.form import clash, listed
from rstitch.evals.normal import LONGEST, normal, number
from rstitch.evals.verify import Verifier
from rstitch.text import boxed

DEEPEST = 40
"""Nested brackets; parsers recurse on them."""

__all__ = ["final_answer", "is_equal", "is_hostile", "is_right", "letter_of"]


def is_right(text: str, answer: int | str) -> bool:
    r"""The last `\boxed{...}` of the text is that answer; all else is wrong, never an error."""
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
    if is_hostile(found) or clash(found, gold):
        return False
    return _alike_as_lists(found, gold, verifier)


def _alike_as_lists(found: str, gold: str, verifier: Verifier) -> bool:
    """Algebra's word, but for lists: as many on both sides, and one in (...) has an order."""
    ours, theirs = listed(found), listed(gold)
    fewest, most = sorted((len(ours.items), len(theirs.items)))
    single = ours.items if len(ours.items) == 1 else theirs.items
    if fewest != most and ours.countable and theirs.countable:
        if fewest > 1 or (fewest == 1 and number(normal(single[0])) is not None):
            return False
    ordered = "(" in (ours.bracket, theirs.bracket) and ours.bracket != theirs.bracket
    if fewest == most > 1 and ordered:
        pairs = zip(ours.items, theirs.items, strict=True)
        bare = "" in (ours.bracket, theirs.bracket)
        return bare and all(is_equal(a, b, verifier) for a, b in pairs)
    return verifier.equal(gold, found)


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
