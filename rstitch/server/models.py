"""Which policy a request means, by the model's name and by the key `rstitch`.

The stitched pair has a name, `NAME@0.02` is the pair at that tau (for clients that cannot send
fields of their own), `NAME-slm` and `NAME-llm` are its sides alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rstitch.errors import BadRequest
from rstitch.policy import Policy
from rstitch.server.errors import Problem, bad
from rstitch.server.extra import Asked
from rstitch.server.rules import Rules
from rstitch.types import Side
from rstitch.units import nats, normalised

TAU = re.compile(r"[-+.0-9a-z]+")
STITCHED = ("tau", "policy", "max_llm_share", "max_llm_tokens", "deadline")
"""Fields of `rstitch` that say something about two models."""


@dataclass(frozen=True, slots=True)
class Names:
    """The models of one server."""

    pair: str
    rules: Rules
    vocab_size: int
    """Of the LLM, for tau in nats."""

    def listed(self) -> Iterator[tuple[str, str]]:
        """Names and what they are."""
        yield self.pair, "both models, stitched"
        yield f"{self.pair}-slm", "the SLM alone"
        yield f"{self.pair}-llm", "the LLM alone"

    def policy(self, model: str | None, asked: Asked) -> Policy:
        """Raises Problem: 404 for a model that is not here, 400 for what does not go together."""
        name, at, text = (model or "").partition("@")
        if model is None or model == self.pair:
            return self.rules.stitched(asked, asked.tau)
        if at and name == self.pair:
            return self._at(model, text, asked)
        for side in Side:
            if model == f"{self.pair}-{side.label}":
                return self._alone(side, asked)
        raise self.unknown(model)

    def unknown(self, model: str) -> Problem:
        known = ", ".join(name for name, _ in self.listed())
        told = f"model is {model[:60]!r}, which is not here; known: {known}"
        return Problem(404, told, "model", "model_not_found")

    def _at(self, model: str, text: str, asked: Asked) -> Policy:
        try:
            inside = nats(text) is not None
            tau = float(normalised(text, self.vocab_size) if inside else text)
        except (BadRequest, ValueError):
            raise self.unknown(model) from None
        if not (-1 <= tau <= 2 and TAU.fullmatch(text)):
            raise self.unknown(model)
        if asked.tau is not None and tau != asked.tau:
            told = f"rstitch.tau is {asked.tau} and the model's name says {tau}; give one of them"
            raise bad(told, "rstitch.tau")
        return self.rules.stitched(asked, tau)

    def _alone(self, side: Side, asked: Asked) -> Policy:
        for name in STITCHED:
            if getattr(asked, name) is not None:
                told = f"rstitch.{name} is for the pair; {self.pair}-{side.label} is one side alone"
                raise bad(told, f"rstitch.{name}")
        return self.rules.alone(side)
