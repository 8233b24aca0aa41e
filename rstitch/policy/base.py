"""What a policy is: a pure batched function from recorded signals to who writes next.

A policy never sees the token that was drawn, only properties of the distribution and of the answer
so far, and everything it reads is recorded in the trace, so `rstitch explain` can run it again. How
to write one, and how to use it without touching this package: docs/policies.md.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from rstitch.errors import BadRequest
from rstitch.types import Side

SIGNALS = (
    "max_prob", "coin", "margin", "top_probs", "phase", "boundary", "context", "elapsed", "score",
    "span",
)  # fmt: skip
"""What `Policy.reads` may name. Side and entropy are always there."""
ROW_SIGNALS = frozenset({"coin", "context", "elapsed", "score"})
"""Those of them that `Policy.decide_row` can have."""


Floats = np.ndarray[Any, np.dtype[np.float32]]


class NotInReads:
    """Stands for a signal that was not asked for; using it fails with this name."""


UNASKED = cast(Tensor, NotInReads())


@dataclass(frozen=True, slots=True)
class Signals:
    """What a policy may read, one row per sequence; tensors of shape (rows,), but `top_probs`."""

    side: Tensor
    """int64: who produced the distribution (0 SLM, 1 LLM)."""
    entropy: Tensor
    """float32, normalised, 0..1."""
    max_prob: Tensor = UNASKED
    """float32: probability of the likeliest token."""
    coin: Tensor = UNASKED
    """float32, uniform in [0, 1): a pure function of (seed, position, side)."""
    margin: Tensor = UNASKED
    """float32: probability of the likeliest token less that of the second."""
    top_probs: Tensor = UNASKED
    """float32 (rows, `Policy.top`): the likeliest probabilities, falling; 0 past the vocabulary."""
    phase: Tensor = UNASKED
    """float32: 1 where the position lies inside a thought, 0 in the answer. A mark closes or opens
    what comes after it."""
    boundary: Tensor = UNASKED
    """float32: 1 where a step begins: at the first position, and where the last kept token
    completed a blank line."""
    context: Tensor = UNASKED
    """float32: tokens that the side has to know here, its prompt and the answer so far."""
    elapsed: Tensor = UNASKED
    """float32: seconds since the request was accepted, when the distribution was read."""
    score: Tensor = UNASKED
    """float32: what `Policy.score` made of the final hidden state."""

    def only(self, reads: Sequence[str], top: int, rows: Tensor) -> Signals:
        """Some rows, and of the signals those that were asked for."""
        found = {name: getattr(self, name)[rows] for name in reads if name != "span"}
        if top:
            found["top_probs"] = found["top_probs"][:, :top]
        return Signals(self.side[rows], self.entropy[rows], **found)


@dataclass(frozen=True, slots=True)
class Decision:
    """Tensors of shape (rows,), and the policy's memory for the next position."""

    next_side: Tensor
    """int64."""
    keep: Tensor
    """bool; a discarded token's position goes to `next_side`, which must then be the other side."""
    state: Tensor
    """float32 (rows, width)."""


class RowSignals(Protocol):
    """One row's signals in plain numbers, float32 values, each worked out when it is read. What
    `Policy.reads` does not name is not recorded, so a rule must not use it."""

    side: Side
    entropy: float
    hidden: Floats | None
    """(width,) what the head read; None on a side that is not `Policy.scored`."""
    state: MutableSequence[float]
    """The policy's memory; what it or one of its numbers is set to is rounded to float32."""
    score: float
    """0 until the policy sets it."""

    @property
    def context(self) -> int: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def coin(self) -> float: ...


class Policy(ABC):
    """One routing rule with its parameters. Subclasses are frozen dataclasses of plain numbers."""

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    """Signals beside side and entropy that it reads; only these are computed and recorded."""
    top: ClassVar[int] = 0
    """How many of the likeliest probabilities `top_probs` holds."""

    def __init_subclass__(cls) -> None:
        strange = [name for name in cls.reads if name not in SIGNALS]
        if strange:
            raise BadRequest(
                f"policy class {cls.__name__} reads {strange[0]!r}; known: {', '.join(SIGNALS)} "
                "(side and entropy are always there)"
            )
        if ("top_probs" in cls.reads) != (cls.top > 0):
            raise BadRequest(
                f"policy class {cls.__name__} has top = {cls.top}; it must be positive where "
                "`reads` names top_probs, and 0 elsewhere"
            )
        if "decide_row" in vars(cls):
            cls.rowwise = True
            if not set(cls.reads) <= ROW_SIGNALS:
                raise BadRequest(
                    f"policy class {cls.__name__} has decide_row and reads "
                    f"{', '.join(cls.reads)}; there it can have {', '.join(sorted(ROW_SIGNALS))}"
                )
        elif {"reads", "decide", "score"} & vars(cls).keys():
            cls.rowwise = False  # what it inherited says nothing about its own rule

    @classmethod
    def recorded(cls) -> tuple[str, ...]:
        """Names of the numbers that a trace keeps per proposal."""
        names: list[str] = []
        for name in cls.reads:
            if name == "top_probs":
                names += [f"top_probs.{i}" for i in range(cls.top)]
            elif name != "span":  # several numbers per pass, in a field of their own
                names.append(name)
        return tuple(names)

    rowwise: ClassVar[bool] = False
    """It has `decide_row`. Not to be set: a class that defines it has it."""

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        """(next side, keep) of one row: `decide` in plain numbers, bit by bit. Optional; beside a
        small model's pass on a CPU the batched rule is most of a step."""
        raise NotImplementedError(f"{type(self).__name__} has no decide_row")

    def made_for(self) -> Mapping[str, Any] | None:
        """The models that it may be used with, as `models` (side label to source and sha256), and
        `what` it is in messages; None where it may be used with any."""
        return None

    def start(self) -> Side:
        """Who writes the first token."""
        return Side.SLM

    def sides(self) -> tuple[Side, ...]:
        """The sides that it can ever use; a side not named is never run for the request."""
        return (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        """This request's row of `state`: its parameters and an empty memory."""
        return ()

    @classmethod
    @abstractmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        """Decide for all rows at once. Pure: no randomness, no host reads, no change of inputs."""

    scored: ClassVar[tuple[Side, ...]] = (Side.SLM, Side.LLM)
    """Sides whose hidden states `score` gets; on another the signal is 0."""

    def score(self, hidden: Tensor, signals: Signals) -> Tensor:
        """One number per row, recorded as the signal `score`, where `reads` names it. Pure.

        hidden: (rows, width) what the head of the model `signals.side` reads. Not recorded, so
        `decide` cannot have it; the other signals that `reads` names are in `signals`.
        """
        raise NotImplementedError(f"{type(self).__name__} reads score, and has no score()")

    def confirm(self, scores: Sequence[float]) -> int:
        """How many of the tokens stay that the SLM wrote since the LLM was last asked, where
        `reads` names `span`; the rest is taken back. Pure.

        scores: the log-probability that the LLM gives each of them, in order.
        """
        raise NotImplementedError(f"{type(self).__name__} reads span, and has no confirm()")

    def spec(self) -> dict[str, Any]:
        """Name and parameters, enough for `rstitch.policy.make` to build it again."""
        assert dataclasses.is_dataclass(self)
        return {"name": self.name, **dataclasses.asdict(self)}


def is_number(value: object) -> bool:
    """For parameters that come from outside: a real number, not a text, bool or NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def need_whole(name: str, value: Any, least: int, most: int = 10**6) -> None:
    """Refuse a parameter that is no whole number in that range (state rows are float32)."""
    whole = is_number(value) and math.isfinite(value) and value == int(value)
    if not whole or not least <= value <= most:
        raise BadRequest(f"{name} is {value!r}; it must be a whole number, {least} to {most}")


def need_number(name: str, value: object, example: str = "0.02") -> None:
    if not is_number(value):
        raise BadRequest(f"{name} is {value!r}; it must be a number such as {example}")


def threshold(tau: float) -> float:
    """For the state: below 0 stays so, however little; float32 would round -1e-46 to -0."""
    return -1.0 if tau < 0 else float(tau)


@lru_cache(maxsize=256)
def in_float32(tau: float) -> float:
    """What `decide` reads from its state."""
    return float(np.float32(threshold(tau)))


def hand_off(signals: Signals, leave_slm: Tensor, leave_llm: Tensor, state: Tensor) -> Decision:
    """The shape all rules of the paper share: the SLM's token is dropped when control leaves it,
    the LLM's is kept when control leaves it (Algorithm 1)."""
    on_slm = signals.side == Side.SLM
    next_side = torch.where(on_slm, leave_slm, ~leave_llm).long()
    return Decision(next_side, ~(on_slm & leave_slm), state)


def handed_off(side: Side, to_llm: bool) -> tuple[Side, bool]:
    """The same of one row, where one bit says who writes next, whoever wrote this token."""
    return (Side.LLM if to_llm else Side.SLM), side is Side.LLM or not to_llm
