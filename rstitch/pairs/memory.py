"""How much memory there is, and what a token of KV takes of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""Limit and use of this container, version 2 and 1."""


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


def kv_bytes_per_token(settings: Any, width: int) -> int:
    """Keys and values of one token in every layer. Layers with a window keep all tokens too."""
    text = settings.get_text_config()
    heads = int(text.num_attention_heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return 2 * int(text.num_hidden_layers) * kv_heads * dim * width


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
