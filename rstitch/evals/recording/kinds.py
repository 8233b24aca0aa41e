"""What kind of token it is, by its text: harmful ones are compared with others of their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rstitch.api import Stitch

Kind = Literal["digit", "sign", "word", "special"]
"""Numbers; operators, punctuation and white space; words and pieces of them; marks."""


class Kinds:
    """Of the LLM's tokens."""

    def __init__(self, stitch: Stitch) -> None:
        self._tokenizer = stitch.tokenizer
        self._special = {*stitch.tokenizer.all_special_ids, *_added(stitch)}

    def of(self, token: int) -> Kind:
        if token in self._special:
            return "special"
        return kind(str(self._tokenizer.decode([token])))


def kind(text: str) -> Kind:
    """Of a token that is no mark. One that is a part of a character counts as a part of a word."""
    if any(c.isalpha() or c == "\ufffd" for c in text):
        return "word"
    return "digit" if any(c.isnumeric() for c in text) else "sign"


def _added(stitch: Stitch) -> set[int]:
    """Marks such as <think>, which tokenizers add without calling them special."""
    return set(stitch.tokenizer.get_added_vocab().values())
