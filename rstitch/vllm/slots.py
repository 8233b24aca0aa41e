"""Requests in a worker's batch, by slot: what each asked for and what its policy remembers.

Numbers lie on the device, since they are read at every step; they are written when a request comes
in, by copies that nobody waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

from rstitch.policy.base import Policy
from rstitch.sampling import Filters
from rstitch.vllm.asked import Asked
from rstitch.vllm.report import MEMORY

NUMBERS = (
    "kind", "prompt", "start", "stop", "temperature", "top_k", "top_p", "min_p", "accepted", "turn",
)  # fmt: skip
"""float64, which holds ids and positions exactly. `turn` counts what was ever put into a slot."""
ORIGIN = "accepted"

Kind = tuple[type[Policy], int]
"""A policy's class and the width of its state row: what can be asked together."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The rows of one step, as tensors of shape (rows,) but for `memory` (rows, MEMORY)."""

    kind: Tensor
    prompt: Tensor
    position: Tensor
    """In the answer, of the token that is due."""
    stop: Tensor
    seed: Tensor
    accepted: Tensor
    filters: Filters
    turn: Tensor
    known: Tensor
    """Bool: `memory` is the policy's. False where a request came back in the middle of a turn, as
    vLLM's do that had to make room."""
    memory: Tensor


@dataclass(slots=True)
class Slots:
    """Slot numbers are the caller's; a slot may be taken again at any time."""

    most: int
    device: torch.device
    asked: list[Asked | None] = field(init=False)
    kinds: list[Kind] = field(default_factory=list)
    """Every kind seen so far; `NUMBERS`' first is an index into it."""
    _host: tuple[Tensor, Tensor, Tensor] = field(init=False)
    """Numbers, seeds and first memories, as they were asked."""
    _there: tuple[Tensor, Tensor, Tensor] = field(init=False)
    _memory: Tensor = field(init=False)
    """What policies remember after their last decision."""
    _of: Tensor = field(init=False)
    """Whose that is: a `turn`, float64 (slots,)."""
    _turns: Iterator[int] = field(default_factory=lambda: count(1))
    _changed: bool = False

    def __post_init__(self) -> None:
        self.asked = [None] * self.most
        self._host = (
            torch.zeros(self.most, len(NUMBERS), dtype=torch.float64),
            torch.zeros(self.most, dtype=torch.int64),
            torch.zeros(self.most, MEMORY),
        )
        self._there = tuple(one.to(self.device) for one in self._host)  # type: ignore[assignment]
        self._memory = torch.zeros(self.most, MEMORY, device=self.device)
        self._of = torch.zeros(self.most, dtype=torch.float64, device=self.device)

    def put(self, slot: int, asked: Asked | None) -> None:
        """Everything about a slot anew; None for a request that is not ours."""
        self.asked[slot] = asked
        if asked is None:
            return
        kind = (type(asked.rule), len(asked.memory))
        if kind not in self.kinds:
            self.kinds.append(kind)
        told = {**vars(asked), "kind": self.kinds.index(kind), "turn": next(self._turns)}
        told["top_k"] = asked.top_k or asked.vocab_size
        numbers, seeds, memory = self._host
        numbers[slot] = torch.tensor([told[name] for name in NUMBERS], dtype=torch.float64)
        seeds[slot] = asked.seed
        memory[slot, : len(asked.memory)] = torch.tensor(asked.memory)
        self._changed = True

    def flush(self) -> None:
        """Bring what was put to the device."""
        if self._changed:
            self._there = tuple(staged(one, self.device) for one in self._host)  # type: ignore[assignment]
            self._changed = False

    def gather(self, slots: Tensor, ends: Tensor) -> Asking:
        """The rows of these slots (int64); ends: the length that each sequence has reached."""
        numbers, seeds, first = (one[slots] for one in self._there)
        of = dict(zip(NUMBERS, numbers.unbind(1), strict=True))
        position = ends - of["prompt"].long()
        begins = position <= of["start"].long()  # a part of a prefill reads nothing
        return Asking(
            kind=of["kind"].long(),
            prompt=of["prompt"].long(),
            position=position,
            stop=of["stop"].long(),
            seed=seeds,
            accepted=of["accepted"],
            filters=Filters(
                of["temperature"].float(),
                of["top_k"].long(),
                of["top_p"].float(),
                of["min_p"].float(),
            ),
            turn=of["turn"],
            known=begins | (self._of[slots] == of["turn"]),
            memory=torch.where(begins[:, None], first, self._memory[slots]),
        )

    def remember(self, slots: Tensor, rows: Asking, memory: Tensor) -> None:
        """memory: float32 (rows, MEMORY), after the decisions of this step."""
        self._memory.index_copy_(0, slots, memory)
        self._of.index_copy_(0, slots, rows.turn.where(rows.known, 0.0))

    def present(self, slots: Iterable[int]) -> list[Asked]:
        """What ours among these have asked."""
        return [asked for slot in slots if (asked := self.asked[slot]) is not None]


def staged(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device for which the host does not wait."""
    if device.type != "cuda":
        return tensor.to(device, copy=True)
    return tensor.pin_memory().to(device, non_blocking=True)
