"""Entropy over a window: in the paper's Fig. 3(c) harmful tokens are not unsure themselves, their
surroundings are, most clearly in a window of eight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.policy.base import Decision, Signals, hand_off, need_whole
from rstitch.policy.entropy import EntropyThreshold
from rstitch.types import Side

FIXED = 3
"""Columns of the state before the ring: tau, window, proposals seen."""


@dataclass(frozen=True, slots=True)
class Window(EntropyThreshold):
    """Leave the SLM where the mean H of its last `window` proposals, this one included, is above
    tau; leave the LLM where its own H <= tau. Discarded proposals count, the LLM's do not."""

    name: ClassVar[str] = "window"

    window: int = 8
    """Proposals; at the beginning, as many as there are."""

    def __post_init__(self) -> None:
        EntropyThreshold.__post_init__(self)
        need_whole("window", self.window, 1, 1024)

    def initial_state(self) -> tuple[float, ...]:
        head = EntropyThreshold.initial_state(self)
        return (*head, float(self.window), 0.0, *[0.0] * int(self.window))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        on_slm, entropy = signals.side == Side.SLM, signals.entropy
        tau, window, seen, ring = state[:, 0], state[:, 1], state[:, 2], state[:, FIXED:]
        seen = torch.minimum(seen + on_slm, window)
        moved = torch.cat([ring[:, 1:], entropy[:, None]], dim=1)
        ring = torch.where(on_slm[:, None], moved, ring)
        # Summed in double: one row and many may add up in another order, which must not show.
        mean = (ring.double().sum(1) / seen.double().clamp(min=1)).float()
        kept = torch.cat([state[:, :2], seen[:, None], ring], dim=1)
        return hand_off(signals, mean > tau, entropy <= tau, kept)
