"""Which policies a request may ask for, and how: by name, with numbers, within the bounds.

A request never names a file: parameters are numbers (`extra.Rule`), and only policies that are
built in or installed have names. What the operator bounds is checked on the finished policy, so
that a tau that comes from elsewhere (the pair's own, a router's) lies within the bounds too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.policy.registry import POLICIES, find, is_known, is_needed
from rstitch.policy.steered import Steered
from rstitch.server.config import Bounds
from rstitch.server.errors import bad
from rstitch.server.extra import Asked, Rule
from rstitch.types import Side

ALONE = {"llm": -1.0, "slm": 1.0}
"""The tau that a policy without one amounts to, for the bounds."""


@dataclass(frozen=True, slots=True)
class Rules:
    """default: where a request says nothing. Raises BadRequest where it lies out of bounds."""

    default: Policy
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        wrong = self.outside(self.default)
        if wrong:
            raise BadRequest(
                f"the pair's own {wrong}; give another with --tau, or widen the bounds"
            )

    def stitched(self, asked: Asked, tau: float | None) -> Policy:
        """Raises Problem (400) that names the field."""
        if asked.policy is not None:
            found = self._named(asked.policy, tau)
        else:
            found = self.default if tau is None else self._at(tau)
        self._check(found, "rstitch.policy" if tau is None else "rstitch.tau")
        return found

    def alone(self, side: Side) -> Policy:
        found = make(side.label)
        if self.bounds.policies and side.label not in self.bounds.policies:
            raise bad(f"this server gives no answer of the {side.name} alone", "model")
        self._check(found, "model")
        return found

    def outside(self, policy: Policy) -> str:
        """Which tau of it lies out of bounds, in words; empty where all lie within."""
        low = -math.inf if self.bounds.tau_min is None else self.bounds.tau_min
        high = math.inf if self.bounds.tau_max is None else self.bounds.tau_max
        for name, tau in _taus(policy):
            if not low <= tau <= high:
                return f"{name} is {tau:g}; this server takes {low:g} to {high:g}"
        return ""

    def check_deadline(self, seconds: float | None) -> None:
        """Raises Problem (400) for one out of bounds."""
        low = self.bounds.deadline_min or 0.0
        high = math.inf if self.bounds.deadline_max is None else self.bounds.deadline_max
        if seconds is not None and not low <= seconds <= high:
            told = f"rstitch.deadline is {seconds:g}; this server takes {low:g} to {high:g} seconds"
            raise bad(told, "rstitch.deadline")

    def _at(self, tau: float) -> Policy:
        """The default at another tau; the plain rule where it has none."""
        if hasattr(self.default, "tau"):
            return replace(self.default, tau=tau)  # type: ignore[type-var]  # a dataclass
        return make("entropy", tau=tau)

    def _named(self, rule: str | Rule, tau: float | None) -> Policy:
        name = rule if isinstance(rule, str) else rule.name
        params: dict[str, Any] = {} if isinstance(rule, str) else rule.params
        allowed = self.bounds.policies
        if not is_known(name) or (allowed and name not in allowed):
            names = ", ".join(allowed or POLICIES.known())
            told = f"rstitch.policy is {name!r}; known here: {names}"
            raise bad(told, "rstitch.policy")
        if tau is not None:
            if "tau" not in {f.name for f in fields(find(name))}:  # type: ignore[arg-type]
                raise bad(f"policy {name!r} has no tau; leave rstitch.tau out", "rstitch.tau")
            if params.setdefault("tau", tau) != tau:
                told = f"tau is {tau}, and {params['tau']} in rstitch.policy; give one of them"
                raise bad(told, "rstitch.tau")
        elif "tau" in {f.name for f in _needed(name)}:
            params.setdefault("tau", getattr(self.default, "tau", None))
        try:
            found = make(name, **params)
        except BadRequest as error:
            raise bad(str(error), "rstitch.policy") from None
        self.check_deadline(getattr(found, "deadline", None))
        if self._bounds_tau and not allowed and not _taus(found):
            told = f"policy {name!r} has no tau, and this server bounds it; take one that has"
            raise bad(told, "rstitch.policy")
        return found

    @property
    def _bounds_tau(self) -> bool:
        return self.bounds.tau_min is not None or self.bounds.tau_max is not None

    def check_limits(self, name: str) -> None:
        """Raises Problem (400) where no answer may be steered to a limit such as `name`."""
        if self.bounds.policies and Steered.name not in self.bounds.policies:
            told = f"{name} needs the policy 'steered', which this server does not allow"
            raise bad(told, name)

    def _check(self, policy: Policy, param: str) -> None:
        wrong = self.outside(policy)
        if wrong:
            raise bad(wrong, param)


def _needed(name: str) -> list[Any]:
    return [f for f in fields(find(name)) if is_needed(f)]  # type: ignore[arg-type]  # a dataclass


def _taus(policy: Policy) -> list[tuple[str, float]]:
    if policy.name in ALONE:
        return [("tau", ALONE[policy.name])]
    return [
        (field.name, value)
        for field in fields(policy)  # type: ignore[arg-type]  # a dataclass
        if field.name.startswith("tau") and (value := getattr(policy, field.name)) is not None
    ]
