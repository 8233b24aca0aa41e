"""From a reply to the answer it gives: a box, a sentence that says so, or the last number.

Replies are whatever a model wrote, so everything here takes time proportional to their length.
"""

from __future__ import annotations

import re

from rstitch.text import boxed, split_reasoning

_SAYS = re.compile(r"####|\banswer\b(?:\s+is\b|\s*[:=])(?:\s*:)?", re.IGNORECASE)
_END = re.compile(r"\.(?:\s|$)|\n|;\s")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:/\d+)?%?")
_LETTER = re.compile(r"(?<![A-Za-z])\(?([A-J])\)?(?![A-Za-z'])")
_BRACKETED = re.compile(r"\(([A-J])\)")


def final_part(text: str, inside: bool = False) -> str:
    """What comes after the thinking; "" where a thought was never closed.

    inside: the prompt had opened the thought; a mark that only closes says so too.
    """
    head, closed, _ = text.partition("</think>")
    opened = inside or (bool(closed) and "<think>" not in head)
    return split_reasoning(text, started_inside=opened).answer


def answer_of(text: str, inside: bool = False) -> str | None:
    r"""The last `\boxed{...}` after the thinking, else what follows "answer is" there, else the
    last number there; else the last box of a thought. None where there is nothing of the kind."""
    part = final_part(text, inside)
    if "\\boxed" in part:  # an unclosed one was cut off: no number before it is the answer
        return boxed(part)
    for find in (said, last_number):
        found = find(part)
        if found:
            return found
    return boxed(text)


def said(text: str) -> str | None:
    """What follows the last "answer is", "answer:" or "####", up to the end of the sentence."""
    found = list(_SAYS.finditer(text))
    if not found:
        return None
    rest = text[found[-1].end() :].lstrip(" \n*$")
    end = _END.search(rest)
    return rest[: end.start()].rstrip(" .*$") if end else rest.rstrip(" .*$")


def last_number(text: str) -> str | None:
    found = _NUMBER.findall(text)
    return str(found[-1]).rstrip(",") if found else None


def letter_of(text: str, inside: bool = False) -> str | None:
    """The letter that a reply to a multiple-choice question names."""
    part = final_part(text, inside)
    for found in (boxed(part), said(part)):
        if found is not None and (letter := _first_letter(found)):
            return letter
    bracketed = _BRACKETED.findall(part)
    if bracketed:
        return str(bracketed[-1])
    alone = part.strip(" \n.*")
    return _first_letter(alone) if len(alone) <= 2 else _first_letter(boxed(text) or "")


def _first_letter(text: str) -> str | None:
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\b", "", text)
    found = _LETTER.search(bare.replace("{", "").replace("}", ""))
    return found[1] if found else None
