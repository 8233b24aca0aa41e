"""Speculative decoding with entropy gates: the lossy rival of stitching by entropy.

FLy (arXiv 2511.22972, and `rejection_sample_method="fly"` of vLLM): a rejected draft token at which
the LLM itself is unsure (entropy at least theta) is accepted all the same if the next W drafted
tokens would be: then the LLM goes along with what the SLM said. Rejections at which it is sure, and
those with fewer than W drafted tokens behind them, stand. Beside that, drafting stops where the SLM
is unsure, by the rule at which R-Stitch hands over: H > tau.

Departures from FLy:
    1. Entropy is normalised and over the whole vocabulary, as everywhere here, from raw logits;
       vLLM sums the likeliest three in nats, after temperature and filters.
    2. The stop at H > tau, which changes no law, only how much is drafted (as in AdaEDL, arXiv
       2410.18351, by the entropy itself instead of its bound). Off at tau >= 1.
    3. Sampled: a token that would be drawn from the LLM with probability 0 is never accepted, and
       "would be accepted" is the rule of chance, with the coin of that position, as in vLLM.

With theta > 1 it is lossless, and with tau >= 1 besides it is `Speculative`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.baselines import accept
from rstitch.baselines.base import need_whole
from rstitch.baselines.speculative import Speculative
from rstitch.errors import BadRequest
from rstitch.policy.base import need_number


@dataclass(frozen=True, slots=True)
class GatedSpeculative(Speculative):
    """Lossy where theta <= 1."""

    name: ClassVar[str] = "gated-speculative"

    k: int = 10
    tau: float = 1.0
    """The SLM's entropy above which it drafts no further."""
    theta: float = 0.025
    """The LLM's entropy from which on a rejection may be lifted; 0.3 nats of 150,000 tokens."""
    window: int = 6
    """Drafted tokens after it that have to be acceptable."""

    def __post_init__(self) -> None:
        Speculative.__post_init__(self)
        need_number("tau", self.tau)
        need_number("theta", self.theta)
        need_whole("window", self.window, 0)
        if self.window >= self.k:
            raise BadRequest(
                f"window is {self.window}; it must be below k ({self.k}), the length of a draft"
            )

    def stops(self, logits: Tensor) -> bool:
        return self.tau < 1 and _entropies(logits)[0] > float(np.float32(self.tau))

    def judged(
        self, fine: list[bool], tokens: list[int], logits: Tensor, logs: Tensor
    ) -> list[bool]:
        if self.theta > 1 or all(fine):
            return fine
        theta = float(np.float32(self.theta))
        unsure = (h >= theta for h in _entropies(logits))
        possible = (logs[i, token] > -torch.inf for i, token in enumerate(tokens))
        may = [bool(a and b) for a, b in zip(unsure, possible, strict=False)]
        return accept.loosened(fine, may, self.window)


def _entropies(logits: Tensor) -> Sequence[float]:
    """Normalised, of raw logits (rows, V)."""
    found: list[float] = sampling.entropy(sampling.log_probs(logits, logits.shape[-1])).tolist()
    return found
