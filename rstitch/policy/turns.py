"""Hand-offs at positions given in advance: those of another answer, for a random control that has a
gate's run lengths and none of its knowledge of this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import Decision, Policy, Signals, hand_off, need_whole
from rstitch.types import Side

EXACT = 2**24
"""State rows are float32, which counts exactly up to here."""


@dataclass(frozen=True, slots=True)
class Turns(Policy):
    """The SLM writes up to the first position in `at`, the LLM from there to the second, and so on;
    after `period` tokens it begins anew. A period of 0 never does."""

    name: ClassVar[str] = "turns"

    at: tuple[int, ...]
    """Positions, rising, at which the writer changes."""
    period: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", _positions(self.at))  # a list, where JSON was read
        need_whole("period", self.period, 0, EXACT)

    def start(self) -> Side:
        return Side.LLM if self.at[:1] == (0,) else Side.SLM

    def initial_state(self) -> tuple[float, ...]:
        return (0.0, float(self.period or EXACT), *map(float, self.at))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        place = state[:, 0]
        to_llm = _llm_writes(place, state)
        keep = (signals.side == Side.LLM) | ~to_llm
        after = torch.where(keep, place + 1, place)
        after = torch.where(after >= state[:, 1], torch.zeros_like(after), after)
        back = ~_llm_writes(after, state)
        moved = torch.cat([after[:, None], state[:, 1:]], dim=1)
        return hand_off(signals, to_llm, back, moved)


def _llm_writes(place: Tensor, state: Tensor) -> Tensor:
    """Whether an odd number of changes lies at or before the position."""
    return (state[:, 2:] <= place[:, None]).sum(1) % 2 == 1


def _positions(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list | tuple):
        raise BadRequest(f"at is {given!r}; it must be a list of positions, such as [4, 7]")
    for position in given:
        need_whole("at", position, 0, EXACT)
    if any(b <= a for a, b in zip(given, given[1:], strict=False)):
        raise BadRequest(f"at is {list(given)}; its positions must rise")
    return tuple(map(int, given))
