"""How much KV memory both sides may take, from what this machine has free.

One number bounds both: each side gets the share that holds equally many tokens, since in the end
most tokens of an answer are cached on both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch

from rstitch.engine.runner import Runner
from rstitch.types import Side

GIB = 2**30
SHARE = 0.5
"""Of what is free at load; the rest is for activations and for others."""


def bound(runners: Mapping[Side, Runner], gib: float | None, device: str) -> dict[Side, int]:
    """Hold all runners to `gib`, or a share of what is free; returns each side's bytes."""
    total = free_bytes(device) * SHARE if gib is None else gib * GIB
    tokens = total / sum(runner.token_bytes for runner in runners.values())
    return {side: int(tokens * runner.token_bytes) for side, runner in runners.items()}


def free_bytes(device: str) -> int:
    """Memory that could be taken now, a container's limit included."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [_system_free(), _container_free(Path("/sys/fs/cgroup"))]
    return min(n for n in free if n is not None)


def _system_free(meminfo: Path = Path("/proc/meminfo")) -> int:
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _container_free(group: Path) -> int | None:
    """None outside a cgroup (version 2) with a limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
    except OSError:
        return None
    return None if limit == "max" else max(int(limit) - used, 0)
