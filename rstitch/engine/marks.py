"""What tokens mean to policies: where a thought opens and closes, and where a step ends.

The engine sees ids alone; this is the one place at which their meaning enters it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rstitch.engine.sequence import Sequence
from rstitch.text import Tokenizer
from rstitch.types import Side

BLANK, STARTS, ENDS = 1, 2, 4
"""Bits: a token's text holds a blank line, starts with a line feed, ends with one."""


@dataclass(slots=True)
class Marks:
    """Per side, since the two vocabularies may give a mark different ids."""

    think: Mapping[Side, tuple[int, int]]
    """Ids that open and close a thought; a side whose vocabulary has none is left out."""
    tokenizers: Mapping[Side, Tokenizer]
    _breaks: dict[tuple[Side, int], int] = field(default_factory=dict, init=False)
    """Bits of every token that was looked at: each is decoded once in the life of the engine."""

    def thinking(self, row: Sequence) -> bool:
        """Whether the next position lies inside a thought, that is, the last mark opened one."""
        seen, inside = row.thought if row.thought is not None else (0, self._prompt(row))
        written = zip(row.sides[seen:], row.tokens[seen:], strict=True)
        for side, token in written:
            opens, closes = self.think[side]
            inside = token == opens or (inside and token != closes)
        row.thought = (len(row.tokens), inside)
        return inside

    def begins_step(self, row: Sequence) -> bool:
        """Whether the last kept token completed a blank line (two line feeds in a row), or nothing
        is written yet."""
        if not row.tokens:
            return True
        last, before = (self._bits(row, at) for at in (-1, max(-2, -len(row.tokens))))
        joined = len(row.tokens) > 1 and before & ENDS and last & STARTS
        return bool(last & BLANK or joined)

    def _prompt(self, row: Sequence) -> bool:
        """Whether the prompt left a thought open; where prompts differ, the LLM's counts."""
        side = max(row.request.policy.sides())
        opens, closes = self.think[side]
        marks = (token for token in reversed(row.request.prompts[side]) if token in (opens, closes))
        return next(marks, closes) == opens

    def _bits(self, row: Sequence, at: int) -> int:
        key = (row.sides[at], row.tokens[at])
        if key not in self._breaks:
            side, token = key
            text = self.tokenizers[side].decode([token], skip_special_tokens=False)
            bits = BLANK * ("\n\n" in text)
            bits |= STARTS * text.startswith("\n") | ENDS * text.endswith("\n")
            self._breaks[key] = bits
        return self._breaks[key]
