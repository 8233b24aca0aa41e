"""What prompts are held against: what a row may hold on each side, and why no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rstitch.errors import BadRequest
from rstitch.types import Side


class Holds(Protocol):
    """What of a runner matters here."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def max_length(self) -> int:
        """Tokens that the context holds."""
        ...

    @property
    def token_bytes(self) -> int:
        """KV memory of one token."""
        ...


@dataclass(frozen=True, slots=True)
class RowLimits:
    """By side."""

    runners: Mapping[Side, Holds]
    limits: Mapping[Side, int]
    """Tokens that a row may hold: those of the context, or of all memory if they are fewer."""
    bytes: Mapping[Side, int]
    """Of KV memory."""

    def check(self, side: Side, prompt: Sequence[int]) -> None:
        """Raise BadRequest, with the numbers, for a prompt that could never get its first token."""
        context, limit = self.runners[side].max_length, self.limits[side]
        if len(prompt) < limit:
            return
        if len(prompt) >= context:
            raise BadRequest(
                f"the prompt has {len(prompt)} tokens for the {side.name}, whose context is "
                f"{context}; shorten it to at most {context - 1}"
            )
        per_token = sum(runner.token_bytes for runner in self.runners.values())
        raise BadRequest(
            f"the prompt has {len(prompt)} tokens for the {side.name}, whose KV memory of "
            f"{self.bytes[side]:,} bytes holds {limit} in all; shorten it to at most "
            f"{max(limit - 1, 0)}, or raise kv_memory (a token takes {per_token:,} bytes)"
        )
