"""The policies that have a name: `rstitch.registry` says how one is found."""

from __future__ import annotations

from rstitch.policy.base import Policy
from rstitch.registry import Registry, is_file, is_needed

REGISTRY: dict[str, str] = {
    "entropy": "rstitch.policy.entropy:EntropyThreshold",
    "confidence": "rstitch.policy.confidence:Confidence",
    "margin": "rstitch.policy.margin:Margin",
    "window": "rstitch.policy.window:Window",
    "hysteresis": "rstitch.policy.hysteresis:Hysteresis",
    "phase": "rstitch.policy.phase:PerPhase",
    "rewind": "rstitch.policy.rewind:Rewind",
    "router": "rstitch.policy.router:Router",
    "steered": "rstitch.policy.steered:Steered",
    "slm": "rstitch.policy.alone:SLMAlone",
    "llm": "rstitch.policy.alone:LLMAlone",
    "random": "rstitch.policy.twostate:TwoState",
    "turns": "rstitch.policy.turns:Turns",
}

POLICIES: Registry[Policy] = Registry(
    kind="policy",
    base=Policy,  # type: ignore[type-abstract]  # only its subclasses are made
    needs="decide",
    group="rstitch.policies",
    built_in=REGISTRY,
    given_with="with --policy path.py:Class",
)

GROUP = POLICIES.group
find, from_file, build, find_or_run = (
    POLICIES.find,
    POLICIES.from_file,
    POLICIES.build,
    POLICIES.find_or_run,
)


def is_known(name: str) -> bool:
    """Whether a policy of that name is built in or installed."""
    return name in POLICIES.known()


__all__ = [
    "GROUP", "POLICIES", "REGISTRY",
    "build", "find", "find_or_run", "from_file", "is_file", "is_known", "is_needed",
]  # fmt: skip
