"""A router for the tests' random pair: a network that nobody trained, bound to its two models."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from rstitch.pairs.bound import models_of
from rstitch.policy.network import BESIDE, Layer, Network, save
from tests.pair import TAU, stitch

WIDTH = 32
"""Of the random SLM's hidden states."""


def network(seed: int = 0, width: int = WIDTH, hidden: int = 8) -> Network:
    draws = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws) / 4

    return Network([
        Layer(drawn(hidden, width + BESIDE), drawn(hidden)), Layer(drawn(1, hidden), drawn(1)),
    ])  # fmt: skip


@lru_cache
def router_file() -> str:
    """Its directory; removed when the tests end."""
    root = Path(tempfile.mkdtemp(prefix="rstitch-router-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    save(root, network(), {"tau": TAU, "models": models_of(stitch().models)})
    return str(root)
