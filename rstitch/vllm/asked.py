"""What one turn of a request tells the gate, as it travels in vLLM's `extra_args`.

Plain numbers and texts, checked where they arrive, since they come from another process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.policy.base import Policy
from rstitch.types import Side

KEY = "rstitch"


@dataclass(frozen=True)
class Asked:
    """One turn. Without slots: the policy is made once, where it is used."""

    policy: dict[str, Any]
    """Name and parameters (`Policy.spec`)."""
    side: int
    columns: int
    vocab_size: int
    prompt: int
    """Tokens of the prompt on this side: positions in the answer count from there."""
    start: int
    """Position of the turn's first distribution; up to it the memory is `memory`."""
    memory: tuple[float, ...]
    """The policy's state row there."""
    stop: int
    seed: int
    accepted: float
    """Seconds since the epoch."""
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    tops: int = 0

    def as_args(self) -> dict[str, Any]:
        """For `SamplingParams.extra_args`."""
        return {KEY: {**asdict(self), "memory": list(self.memory)}}

    @classmethod
    def of(cls, extra_args: Mapping[str, Any] | None) -> Asked | None:
        """None for a request that is not ours. Raises ValueError for one that is and is wrong."""
        found = (extra_args or {}).get(KEY)
        if found is None:
            return None
        try:
            asked = cls(**{**found, "memory": tuple(map(float, found["memory"]))})
            asked.rule  # noqa: B018  # refused here rather than in the worker
            Side(asked.side)
        except (TypeError, KeyError, ValueError, BadRequest) as error:
            raise ValueError(f"extra_args[{KEY!r}] cannot be used: {error}") from error
        return asked

    @cached_property
    def rule(self) -> Policy:
        """The policy, one that is built in or installed."""
        return make(**self.policy)

    @cached_property
    def scorer(self) -> Policy | None:
        """The policy, if it scores hidden states of this side, with its files as they are now.
        Raises what reading them raises."""
        if "score" not in self.rule.reads or Side(self.side) not in self.rule.scored:
            return None
        self.rule.made_for()
        return self.rule
