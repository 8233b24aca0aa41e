"""R-Stitch+: a small network decides which uncertain tokens are worth the LLM (paper, section 3).

It is asked on the SLM's side alone and only where H > tau; a token of which the SLM is sure stays,
and the way back from the LLM is the entropy rule. Most of an SLM's uncertainty is about wording,
where handing over costs a pass of the LLM and changes nothing.

Hidden states are far too large for a trace. What is recorded is the number that the decision is a
function of, the network's log-odds (`score`), so `explain` needs no weights and checks every
decision, but takes the score itself on trust. It is 0 where the network was not asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.policy.base import (
    Decision,
    Policy,
    RowSignals,
    Signals,
    hand_off,
    handed_off,
    in_float32,
    need_number,
    threshold,
)
from rstitch.policy.lambdas import above_of
from rstitch.policy.network import Network, network_of, read_card, read_network
from rstitch.types import Side

SHIPPED = Path(__file__).parents[1] / "pairs" / "builtin" / "router"
"""That of the built-in pair."""


@dataclass(frozen=True, slots=True)
class Router(Policy):
    """Leave the SLM where H > tau and the network's score > above, the LLM where H <= tau."""

    name: ClassVar[str] = "router"
    reads: ClassVar[tuple[str, ...]] = ("context", "score")
    scored: ClassVar[tuple[Side, ...]] = (Side.SLM,)

    file: str = ""
    """Directory that `rstitch train-router` wrote; the built-in pair's where none is named."""
    tau: float | None = None
    """Normalised entropy from which it is asked; what it was trained with if left out."""
    price: float | None = None
    """lambda, what the time of a plain stitched answer is worth in correctness: the dial between
    accuracy (0) and speed. The one it was trained with if left out."""
    above: float | None = None
    """Log-odds above which the LLM is asked; follows from `price` if left out."""

    def __post_init__(self) -> None:
        if not isinstance(self.file, str):
            raise BadRequest(f"file is {self.file!r}; it must be a router's directory")
        if self.tau is None:  # in a trace it is there, so that explain needs no file
            object.__setattr__(self, "tau", float(read_card(self._path)["tau"]))
        need_number("tau", self.tau)
        if self.above is None:
            card = None if self.price is None else read_card(self._path)
            object.__setattr__(self, "above", 0.0 if card is None else above_of(self.price, card))
        need_number("above", self.above, "-0.5")
        object.__setattr__(self, "above", float(np.float32(self.above)))  # as the state has it

    @property
    def _path(self) -> str:
        return self.file or str(SHIPPED)

    @property
    def network(self) -> Network:
        return network_of(self._path)

    def made_for(self) -> Mapping[str, Any] | None:
        read_network(self._path)  # a damaged file is told before anything is written
        return {"what": f"router {self.file or 'of the built-in pair'}", **read_card(self._path)}

    def start(self) -> Side:
        return Side.LLM if self._tau < 0 else Side.SLM

    def sides(self) -> tuple[Side, ...]:
        if self._tau < 0:
            return (Side.LLM,)
        return (Side.SLM,) if self._tau >= 1 else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        return (threshold(self._tau), self._above)

    @property
    def _tau(self) -> float:
        assert self.tau is not None
        return self.tau

    @property
    def _above(self) -> float:
        assert self.above is not None
        return self.above

    def score(self, hidden: Tensor, signals: Signals) -> Tensor:
        found = self.network(hidden, signals.entropy, signals.context)
        asked = signals.entropy > in_float32(self._tau)
        return torch.where(asked, found, torch.zeros_like(found))

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        unsure = seen.entropy > in_float32(self._tau)
        if seen.side is Side.LLM or not unsure:
            return handed_off(seen.side, unsure)
        assert seen.hidden is not None
        found = self.network.one(seen.hidden, seen.entropy, seen.context)
        seen.score = float(np.float32(found))
        return handed_off(seen.side, seen.score > self._above)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        return hand_off(signals, unsure & (signals.score > state[:, 1]), ~unsure, state)
