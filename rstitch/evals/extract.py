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
_AT_ONCE = re.compile(r"^\W*([A-J])\)?(?=\s*[.,;:!]|\s*$|\*)")
_WORD_A = re.compile(r"(?<![A-Za-z(])[AI]\s+(?=[a-z])")
LETTERS = "ABCDEFGHIJ"


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


def letter_of(text: str, inside: bool = False, choices: str = LETTERS) -> str | None:
    """The letter that a reply to a multiple-choice question names, one of its choices."""
    part = final_part(text, inside)
    found = [
        _first_letter(boxed(part) or "", choices),
        _said_letter(said(part) or "", choices),
        *reversed(_among(_BRACKETED.findall(part), choices)),
    ]
    alone = part.strip(" \n.*")
    found.append(_first_letter(alone if len(alone) <= 2 else boxed(text) or "", choices))
    return next((letter for letter in found if letter), None)


def _said_letter(text: str, choices: str) -> str | None:
    """`C, not D`: one that stands by itself at once, else the last in brackets, else the last. A or
    I before another word is a word."""
    bare = _bare(text)
    at_once = _among(_AT_ONCE.findall(bare), choices)
    bracketed = _among(_BRACKETED.findall(bare), choices)
    named = _among(_LETTER.findall(_WORD_A.sub("", bare)), choices)
    found = [*at_once, *reversed(bracketed), *reversed(named)]
    return found[0] if found else _first_letter(bare, choices)


def _first_letter(text: str, choices: str) -> str | None:
    found = _among(_LETTER.findall(_bare(text)), choices)
    return found[0] if found else None


def _among(letters: list[str], choices: str) -> list[str]:
    return [letter for letter in letters if letter in choices]


def _bare(text: str) -> str:
    bare = re.sub(r"\\(?:text|textbf|mathrm|mathbf|boxed)\b", "", text)
    return bare.replace("{", "").replace("}", "")
