"""Memory of this machine, and how much of it the KV of both sides may take.

One number bounds both: each side gets the share that holds equally many tokens, since in the end
most tokens of an answer are cached on both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from rstitch.types import Side

GIB = 2**30
SHARE = 0.5
"""Of what is free at load; the rest is for activations and for others."""
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""Limit and use of this container, version 2 and 1."""


class HoldsKV(Protocol):
    @property
    def token_bytes(self) -> int:
        """KV memory of one token."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the device that models run on."""

    total: int
    free: int


def of_device(device: str) -> Memory:
    """Of this machine, as far as this process may use it, or of the GPU."""
    if torch.device(device).type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total, free)
    pages = os.sysconf("SC_PAGE_SIZE")
    total = pages * os.sysconf("SC_PHYS_PAGES")
    memory = Memory(total, min(total, _available() or total))
    for limit_file, used_file in CGROUPS:
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and limit < memory.total:
            memory = Memory(limit, max(0, min(memory.free, limit - (used or 0))))
    return memory


def bound(
    runners: Mapping[Side, HoldsKV], gib: float | None, device: str, taken: int = 0
) -> dict[Side, int]:
    """Bytes of KV that each side may take: `gib` in all, or a share of what is free.

    taken: bytes of that which will be others'.
    """
    total = max(of_device(device).free - taken, 0) * SHARE if gib is None else gib * GIB
    tokens = total / sum(runner.token_bytes for runner in runners.values())
    return {side: int(tokens * runner.token_bytes) for side, runner in runners.items()}


def _available() -> int | None:
    """Memory that can be had without swapping, where the system tells."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return next((1024 * int(kib) for kib in found), None)


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or "max"
        return None
