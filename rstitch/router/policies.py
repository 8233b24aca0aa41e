"""The router while it is trained: its network in memory, and its decisions drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Signals, hand_off
from rstitch.policy.entropy import EntropyThreshold
from rstitch.policy.network import Network, hold
from rstitch.policy.router import Router
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class Held(Router):
    """Argmax decisions of a network that lies in no file."""

    name: ClassVar[str] = "held-router"

    def made_for(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class HeldFromLLM(Held):
    """The same, except that the LLM writes the first token."""

    name: ClassVar[str] = "held-router-from-llm"

    def start(self) -> Side:
        return Side.LLM


@dataclass(frozen=True, slots=True)
class Sampled(Held):
    """Hands over with probability 1 / (1 + exp(-score)) where it is asked; tokens stay greedy."""

    name: ClassVar[str] = "sampled-router"
    reads: ClassVar[tuple[str, ...]] = ("coin", "context", "score")

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        leaves = signals.coin < torch.sigmoid(signals.score)
        return hand_off(signals, unsure & leaves, ~unsure, state)


@dataclass(frozen=True, slots=True)
class GateFromLLM(EntropyThreshold):
    """The entropy rule, except that the LLM writes the first token."""

    name: ClassVar[str] = "entropy-from-llm"

    def start(self) -> Side:
        return Side.LLM


def held(network: Network, name: str) -> str:
    """What `Held(file=...)` calls it. A later one of that name takes its place."""
    file = f"held:{name}"
    hold(file, network)
    return file
