"""Whether an answer is right, for tasks whose gold answers are whole numbers."""

from __future__ import annotations

from rstitch.text import boxed


def is_right(text: str, answer: int) -> bool:
    r"""The last `\boxed{...}` of the text is that number; all else is wrong, never an error."""
    found = boxed(text)
    return found is not None and found.strip() == str(answer)
