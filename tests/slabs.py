"""Bytes of KV that really exist, counted from outside: for tests of the bound on memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rstitch.engine.kv import KVSlabs


def count_slabs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """[bytes of all slabs alive, the most there have ever been], kept up to date from now on.

    Slabs that are being replaced count until Python lets go of them.
    """
    alive = [0, 0]

    def gone(nbytes: int) -> None:
        alive[0] -= nbytes

    def counted(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*args: Any) -> torch.Tensor:
            new = make(*args)
            alive[0] += new.nbytes
            alive[1] = max(alive)
            weakref.finalize(new, gone, new.nbytes)
            return new

        return made

    monkeypatch.setattr(KVSlabs, "_slab", counted(KVSlabs._slab))
    monkeypatch.setattr(KVSlabs, "_grown", counted(KVSlabs._grown))
    monkeypatch.setattr(KVSlabs, "_copied", counted(KVSlabs._copied))
    return alive
