"""What a failed pass means: memory ran out, its model is lost, or it was these rows' own affair."""

from __future__ import annotations

from typing import Literal

import torch

from rstitch.engine.request import Request
from rstitch.errors import OutOfMemory, SideLost
from rstitch.types import Side

PATIENCE = 3
"""Passes of one side that may fail one after the other; then something else is wrong than rows."""
MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
DEVICE = ("cuda error", "hip error", "device-side assert", "cublas_status", "cudnn_status", "nccl")
"""How libraries write what no later pass survives, where the exception's type does not say it."""

Fault = Literal["memory", "device", "rows"]


class Faults:
    """Which sides fail, how often in a row, and which are lost."""

    def __init__(self) -> None:
        self.lost: dict[Side, str] = {}
        """Sides that cannot be run any more, with the reason."""
        self._running = dict.fromkeys(Side, 0)

    def none(self, side: Side) -> None:
        """A pass went well."""
        self._running[side] = 0

    def judge(self, side: Side, rows: int, error: Exception) -> tuple[bool, Exception]:
        """Whether the side is lost by this, and what those are told who end."""
        fault = kind(error)
        self._running[side] += 1
        told: Exception = error
        if fault == "memory":
            told = OutOfMemory(f"the {side.name} ran out of memory in a pass of {rows} rows")
        elif fault == "device" or self._running[side] >= PATIENCE:
            self.lose(side, error)
            told = SideLost(self.lost[side])
        if told is not error:
            told.__cause__ = error
        return side in self.lost, told

    def lose(self, side: Side, error: Exception) -> None:
        """It cannot be run any more, for that reason."""
        line = str(error).partition("\n")[0]
        self.lost[side] = f"the {side.name} is lost: {type(error).__name__}: {line}"

    def check(self, request: Request) -> None:
        """Raise SideLost where it needs a side that is lost."""
        for side in request.policy.sides():
            if side in self.lost and not degrades(request, side):
                raise SideLost(self.lost[side])


def degrades(request: Request, lost: Side) -> bool:
    """The request can go on without that side."""
    return request.may_degrade and lost is Side.LLM and Side.SLM in request.policy.sides()


def kind(error: Exception) -> Fault:
    text = str(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(w in text for w in MEMORY):
        return "memory"
    if isinstance(error, torch.AcceleratorError) or any(w in text for w in DEVICE):
        return "device"
    return "rows"
