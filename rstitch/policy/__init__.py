"""WHO writes the next token: one small file per rule, found by name."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy.base import Policy

REGISTRY: dict[str, str] = {
    "entropy": "rstitch.policy.entropy:EntropyThreshold",
    "confidence": "rstitch.policy.confidence:Confidence",
    "slm": "rstitch.policy.alone:SLMAlone",
    "llm": "rstitch.policy.alone:LLMAlone",
    "random": "rstitch.policy.twostate:TwoState",
}


def make(name: str, **params: Any) -> Policy:
    """The policy of that name. Raises BadRequest that lists the known names or parameters."""
    if name not in REGISTRY:
        raise BadRequest(f"unknown policy {name!r}; known: {', '.join(sorted(REGISTRY))}")
    module, attribute = REGISTRY[name].split(":")
    policy = getattr(import_module(module), attribute)
    known = [field.name for field in dataclasses.fields(policy)]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise BadRequest(f"policy {name!r} has no parameter {unknown[0]!r}; {takes}")
    missing = [field for field in known if field not in params]
    if missing:
        raise BadRequest(f"policy {name!r} needs a value for {missing[0]!r}; {takes}")
    built: Policy = policy(**params)
    return built


__all__ = ["REGISTRY", "Policy", "make"]
