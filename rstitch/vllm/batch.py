"""The batch of V1's processor interface: which request is at which index, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rstitch.vllm.asked import Asked
from rstitch.vllm.slots import Slots, staged


@dataclass(frozen=True, slots=True)
class Member:
    """One request. vLLM appends to `written` as it goes."""

    slot: int
    prompt: int
    written: list[int]


@dataclass(slots=True)
class Batch:
    """Owns the slots: vLLM's indices move, a slot stays with its request."""

    slots: Slots
    members: dict[int, Member] = field(default_factory=dict)
    """By index in the batch."""
    _free: list[int] = field(init=False)
    _where: Tensor | None = None

    def __post_init__(self) -> None:
        self._free = list(range(self.slots.most))

    def update(self, update: Any) -> None:
        """Take over a `BatchUpdate`: removed, then added, then moved."""
        for index in update.removed:
            self._remove(index)
        for index, params, prompt, written in update.added:
            self._remove(index)  # an added request may take the place of another
            slot = self._free.pop()
            self.slots.put(slot, Asked.of(params.extra_args))
            self.members[index] = Member(slot, len(prompt or ()), written)
        for one, other, direction in update.moved:
            self._move(one, other, direction.name == "SWAP")
        self.slots.flush()
        self._where = None

    def rows(self) -> tuple[Tensor, Tensor, list[int]]:
        """The slot of each row, the length of its sequence, and the slots again as numbers."""
        members = [self.members[index] for index in sorted(self.members)]
        on_host = [member.slot for member in members]
        if self._where is None:
            self._where = staged(torch.tensor(on_host, dtype=torch.int64), self.slots.device)
        ends = torch.tensor([one.prompt + len(one.written) for one in members], dtype=torch.int64)
        return self._where, staged(ends, self.slots.device), on_host

    def _remove(self, index: int) -> None:
        gone = self.members.pop(index, None)
        if gone is not None:
            self.slots.asked[gone.slot] = None
            self._free.append(gone.slot)

    def _move(self, one: int, other: int, swap: bool) -> None:
        first, second = self.members.pop(one, None), self.members.pop(other, None)
        if not swap and second is not None:
            self.slots.asked[second.slot] = None
            self._free.append(second.slot)
        if first is not None:
            self.members[other] = first
        if swap and second is not None:
            self.members[one] = second
