"""What a training is asked for, apart from the pair; saved with the run, never changed midway."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rstitch.errors import BadRequest
from rstitch.evals.task import Problem, fingerprint
from rstitch.router.dapo import Settings
from rstitch.router.warm import Shape

FRONTIER = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Values of lambda whose routers the card compares; with the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Same plan, same pair, same prices: same router, unless `minutes` ended a part of it."""

    train: tuple[Problem, ...]
    dev: tuple[Problem, ...]
    tau: float
    """Entropy above which the router is asked, and up to which the LLM hands back."""
    price: float = 0.1
    """lambda."""
    seed: int = 0
    steps: int = 40
    """Of DAPO; 0 is the supervised start alone."""
    max_tokens: int = 512
    minutes: float = 30.0
    """After which no further problem is written and no further step begun."""
    chunk: int = 50
    """Problems whose paired answers are written together, and kept together."""
    shape: Shape = Shape()
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price) and self.price >= 0):
            raise BadRequest(
                f"--lambda is {self.price}; it must be 0 (time is worth nothing) or more: 0.05"
            )
        if not 0 <= self.tau < 1:
            raise BadRequest(
                f"--tau is {self.tau}; the router is asked above it, so it must be from 0 on and "
                "below 1, such as 0.02"
            )
        if not self.minutes > 0:
            raise BadRequest(f"--minutes is {self.minutes}; it must be above 0")

    def asked(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with; `minutes` may differ."""
        return {
            "train": len(self.train),
            "train_fingerprint": fingerprint(self.train),
            "dev": len(self.dev),
            "dev_fingerprint": fingerprint(self.dev),
            "tau": self.tau,
            "lambda": self.price,
            "seed": self.seed,
            "steps": self.steps,
            "max_tokens": self.max_tokens,
            "chunk": self.chunk,
            "shape": asdict(self.shape),
            "settings": asdict(self.settings),
        }
