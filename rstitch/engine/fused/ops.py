"""What a fused forward pass needs between its products, and who does it here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from rstitch.engine.paged import choice


@dataclass(frozen=True, slots=True)
class Heads:
    """How one layer attends."""

    query: int
    kv: int
    dim: int
    q_norm: Tensor | None = None
    """Weight (dim,) of what normalises each query head before it is rotated, where there is one."""
    k_norm: Tensor | None = None
    eps: float = 1e-6


class Ops(Protocol):
    """A module with these functions."""

    def add_norm(
        self, residual: Tensor, new: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """(T, width) each: the sum, and the sum normalised by its root mean square."""
        ...

    def rotate_store(
        self,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        heads: Heads,
        keys: Tensor,
        values: Tensor,
        cells: Tensor,
    ) -> Tensor:
        """From (T, (query + 2 kv) heads x dim): keys and values go to their cells, keys rotated;
        returns rotated queries (T, heads, dim). cos, sin: (T, dim)."""
        ...

    def gated(self, gate_up: Tensor) -> Tensor:
        """silu of the first half times the second: (T, 2 n) -> (T, n)."""
        ...


def ops(device: torch.device) -> Ops:
    name = "kernels" if choice.has_triton(device) else "reference"
    return cast(Ops, importlib.import_module(f"rstitch.engine.fused.{name}"))
