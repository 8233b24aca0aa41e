"""Which policy a request means: by the model's name, by the key `rstitch`, within the bounds.

The stitched pair has a name, `NAME@0.02` is the pair at that tau (for clients that cannot send
fields of their own), `NAME-slm` and `NAME-llm` are its sides alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy import Policy, find, make
from rstitch.policy.registry import is_known, is_needed
from rstitch.server.config import Bounds
from rstitch.server.errors import Problem, bad
from rstitch.server.extra import Asked, Rule
from rstitch.types import Side
from rstitch.units import nats


@dataclass(frozen=True, slots=True)
class Names:
    """The models of one server."""

    pair: str
    default: Policy
    """Of the pair, where a request says nothing."""
    vocab_size: int
    """Of the LLM, for tau in nats."""
    bounds: Bounds = Bounds()

    def listed(self) -> Iterator[tuple[str, str]]:
        """Names and what they are."""
        yield self.pair, "both models, stitched"
        yield f"{self.pair}-slm", "the SLM alone"
        yield f"{self.pair}-llm", "the LLM alone"

    def policy(self, model: str | None, asked: Asked) -> Policy:
        """Raises Problem: 404 for a model that is not here, 400 for what does not go together."""
        name, at, tau = (model or self.pair).partition("@")
        if at and name == self.pair:
            return self._stitched(asked, self._tau_of(model or "", tau))
        for side in Side:
            if model == f"{self.pair}-{side.label}":
                return self._alone(side, asked)
        if model not in (None, self.pair):
            raise unknown(model or "", [name for name, _ in self.listed()])
        return self._stitched(asked, asked.tau)

    def _tau_of(self, model: str, text: str) -> float:
        try:
            found = nats(text)
            if found is not None:
                from rstitch.units import normalised

                return float(normalised(text, self.vocab_size))
            return float(text)
        except (BadRequest, ValueError):
            raise unknown(model, [f"{self.pair}@0.02", self.pair]) from None

    def _stitched(self, asked: Asked, tau: float | None) -> Policy:
        if asked.tau is not None and tau != asked.tau:
            raise bad(
                f"rstitch.tau is {asked.tau} and the model's name says {tau}; give one of them",
                "rstitch.tau",
            )
        _refuse_ceilings(asked)
        self._within(tau)
        if asked.policy is None:
            return self.default if tau is None else make("entropy", tau=tau)
        return self._named(asked.policy, tau)

    def _within(self, tau: float | None) -> None:
        low, high = self.bounds.tau_min, self.bounds.tau_max
        if tau is None:
            return
        if tau != tau or (low is not None and tau < low) or (high is not None and tau > high):
            raise bad(
                f"tau is {tau}; this server takes {_told(low)} to {_told(high)}", "rstitch.tau"
            )

    def _named(self, rule: str | Rule, tau: float | None) -> Policy:
        """A rule that is known, none that would read or run a file."""
        name = rule if isinstance(rule, str) else rule.name
        params: dict[str, Any] = {} if isinstance(rule, str) else rule.params
        allowed = self.bounds.policies
        if not is_known(name) or (allowed and name not in allowed):
            known = ", ".join(allowed or self.policies())
            raise bad(f"rstitch.policy is {name!r}; known here: {known}", "rstitch.policy")
        kind = find(name)
        taus = [f for f in fields(kind) if f.name == "tau"]  # type: ignore[arg-type]  # a dataclass
        if tau is not None and not taus:
            raise bad(f"policy {name!r} has no tau; leave rstitch.tau out", "rstitch.tau")
        if taus and "tau" not in params and (tau is not None or is_needed(taus[0])):
            params["tau"] = getattr(self.default, "tau", None) if tau is None else tau
        self._within(params.get("tau"))
        try:
            return make(name, **params)
        except BadRequest as error:
            raise bad(str(error), "rstitch.policy") from None

    def policies(self) -> list[str]:
        """Rules that a request may name: those that need no more than tau."""
        from rstitch.policy.registry import POLICIES

        allowed = self.bounds.policies or POLICIES.known()
        return [
            name
            for name in allowed
            if all(f.name == "tau" or not is_needed(f) for f in fields(find(name)))  # type: ignore[arg-type]
        ]

    def _alone(self, side: Side, asked: Asked) -> Policy:
        for name in ("tau", "policy", "max_llm_share", "max_llm_tokens", "deadline"):
            if getattr(asked, name) is not None:
                told = f"rstitch.{name} is for the pair; {self.pair}-{side.label} is one side alone"
                raise bad(told, f"rstitch.{name}")
        return make(side.label)


def _refuse_ceilings(asked: Asked) -> None:
    for name in ("max_llm_share", "max_llm_tokens", "deadline"):
        if getattr(asked, name) is not None:
            raise bad(f"rstitch.{name} is not supported; leave it out", f"rstitch.{name}")


def _told(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def unknown(model: str, known: list[str]) -> Problem:
    told = f"model is {model[:60]!r}, which is not here; known: {', '.join(known)}"
    return Problem(404, told, "model", "model_not_found")
