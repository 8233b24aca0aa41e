"""What a policy is: a pure batched function from recorded signals to who writes next.

A policy never sees the token that was drawn, only properties of the distribution, and everything
it reads is recorded in the trace, so `rstitch explain` can run it again. To add one: subclass
`Policy` as a frozen dataclass in a file of its own and name it in `rstitch.policy.REGISTRY`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class Signals:
    """What a policy may read, one row per sequence; tensors of shape (rows,)."""

    side: Tensor
    """int64: who produced the distribution (0 SLM, 1 LLM)."""
    entropy: Tensor
    """float32, normalised, 0..1."""
    max_prob: Tensor
    """float32: probability of the likeliest token."""
    coin: Tensor
    """float32, uniform in [0, 1): a pure function of (seed, position, side)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Tensors of shape (rows,), and the policy's memory for the next position."""

    next_side: Tensor
    """int64."""
    keep: Tensor
    """bool; a discarded token's position goes to `next_side`, which must then be the other side."""
    state: Tensor
    """float32 (rows, width)."""


class Policy(ABC):
    """One routing rule with its parameters. Subclasses are frozen dataclasses of plain numbers."""

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    """Signals beside entropy that it reads; only these are recorded."""

    def start(self) -> Side:
        """Who writes the first token."""
        return Side.SLM

    def sides(self) -> tuple[Side, ...]:
        """The sides that it can ever use; a side not named is never run for the request."""
        return (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        """This request's row of `state`: its parameters and an empty memory."""
        return ()

    @classmethod
    @abstractmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        """Decide for all rows at once. Pure: no randomness, no host reads, no change of inputs."""

    def spec(self) -> dict[str, Any]:
        """Name and parameters, enough for `rstitch.policy.make` to build it again."""
        assert dataclasses.is_dataclass(self)
        return {"name": self.name, **dataclasses.asdict(self)}


def is_number(value: object) -> bool:
    """For parameters that come from outside: a real number, not a text, bool or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def hand_off(signals: Signals, leave_slm: Tensor, leave_llm: Tensor, state: Tensor) -> Decision:
    """The shape all rules of the paper share: the SLM's token is dropped when control leaves it,
    the LLM's is kept when control leaves it (Algorithm 1)."""
    on_slm = signals.side == Side.SLM
    next_side = torch.where(on_slm, leave_slm, ~leave_llm).long()
    return Decision(next_side, ~(on_slm & leave_slm), state)
