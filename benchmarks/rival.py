"""transformers' own `generate` on the LLM, at its best setting: the rival of the LLM alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rstitch.baselines.outside import Outside, Setting

__all__ = ["COMPILED", "EAGER", "Rival", "Setting"]

EAGER = [
    Setting(threads, attention, cache)
    for threads, attention, cache in itertools.product(
        (1, 2), ("sdpa", "eager"), ("dynamic", "static")
    )
]
COMPILED = [
    Setting(threads, "sdpa", cache, True)
    for threads, cache in itertools.product((1, 2), ("static", "dynamic"))
]


class Rival(Outside):
    """The LLM of a pair, loaded by transformers alone."""

    def seconds(
        self, prompt: Sequence[int], setting: Setting, max_tokens: int
    ) -> tuple[float, int]:
        """Latency of one greedy answer and its number of tokens."""
        written = self.generate(prompt, max_tokens, setting)
        return written.seconds, len(written.tokens)
