"""R-Stitch's rule within limits: tau moves while the answer is written, so that it keeps to an LLM
share, a number of LLM tokens or a deadline.

Two parts. A controller raises tau after every token of the LLM and lowers it after every one of
the SLM, by as much as brings the LLM's part to what the limits leave for the rest. A guard gives
the LLM no token for which there is no room, whatever tau is. The first decides where the budget
goes, the second that it is kept.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

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
    is_number,
    need_number,
    need_whole,
    threshold,
)
from rstitch.types import Side

SHORTEST = 1e-9
"""Seconds of a step at least: a smaller number may be 0 in float32, and is divided by."""
LEAST = 8.0
"""Tokens that are always taken to be still to come: a budget is never for the next one alone."""
SEEN_SLM, SEEN_LLM = 16.0, 4.0
"""Steps of this answer after which two thirds of what a step is taken to cost are their doing."""
PLANNED = 0.9
"""Of the seconds left, those that are planned for; a machine is now and then slower than it was."""

Number = Any
"""A float64 number, or a tensor of them, shape (rows,): both are reckoned with by the same lines,
so that one row and many agree to the last bit."""


class Row(NamedTuple):
    """The state: parameters, then the memory, each a float32 value."""

    tau: Number
    share: Number
    """Limits are infinite where there is none."""
    most: Number
    deadline: Number
    gain: Number
    shortest: Number
    after: Number
    longest: Number
    llm_token: Number
    slm_step: Number
    """Seconds, as they were said and then as this answer's steps have shown them."""
    llm_step: Number
    moving: Number
    """tau as it is now."""
    kept: Number
    llm: Number
    """Tokens of the LLM among them."""
    read: Number
    """One more than was kept after the LLM's last proposal; 0 where it has read nothing yet."""
    last: Number
    """Seconds at the proposal before."""


TAU, SLM_STEP, MOVING, KEPT, LAST = map(
    Row._fields.index, ("tau", "slm_step", "moving", "kept", "last")
)


@dataclass(frozen=True, slots=True)
class Steered(Policy):
    """Leave the SLM where H > tau and there is room, the LLM where either fails; tau moves."""

    name: ClassVar[str] = "steered"
    reads: ClassVar[tuple[str, ...]] = ("elapsed", "context")

    tau: float
    """Normalised entropy at which tau starts, and below which it never goes. At 1 and above the SLM
    writes alone; at 0 and below tau does not move, and the guard is all there is."""
    max_llm_share: float | None = None
    """LLM tokens over all kept tokens at the end, to the nearest whole token."""
    max_llm_tokens: int | None = None
    """Kept tokens of the LLM."""
    deadline: float | None = None
    """Seconds since the request was accepted. Where the SLM alone cannot meet it, the answer goes
    on without the LLM."""
    gain: float = 0.8
    """How fast tau moves, 0 (not at all) to 1."""
    shortest: int = 0
    """Tokens that nearly every answer has: what the share allows of these may be spent at once."""
    after: int = 0
    """Tokens that nearly every answer still has after the last for which the LLM is wanted; what
    the share allows of these may be spent ahead."""
    longest: int = 512
    """Tokens that hardly an answer exceeds: the limits have to last, and time is kept for the SLM,
    for so many."""
    slm_step: float = 0.0
    """Seconds of a decode step; asked for where there is a deadline. What this answer's own steps
    take counts more and more."""
    llm_step: float = 0.0
    llm_token: float = 0.0
    """Seconds for each token that the LLM has to catch up on, beside its step."""

    def __post_init__(self) -> None:
        need_number("tau", self.tau)
        if self.max_llm_share is not None:
            _need_range("max_llm_share", self.max_llm_share, 1.0)
        if self.max_llm_tokens is not None:
            need_whole("max_llm_tokens", self.max_llm_tokens, 0)
        if self.deadline is not None:
            _need_range("deadline", self.deadline, math.inf)
        _need_range("gain", self.gain, 1.0)
        need_whole("shortest", self.shortest, 0)
        need_whole("after", self.after, 0)
        need_whole("longest", self.longest, 1)
        for name in ("slm_step", "llm_step"):
            _need_range(name, getattr(self, name), math.inf)
            if 0 < getattr(self, name) < SHORTEST:
                raise BadRequest(
                    f"{name} is {getattr(self, name)}; it must be at least {SHORTEST} seconds"
                )
            if self.deadline is not None and not getattr(self, name):
                raise BadRequest(f"{name} is 0; a deadline needs the seconds of a step")
        _need_range("llm_token", self.llm_token, math.inf)

    @property
    def limited(self) -> bool:
        """Whether there is a limit that could ever hold the LLM back."""
        share = self.max_llm_share is not None and self.max_llm_share < 1
        return share or self.max_llm_tokens is not None or self.deadline is not None

    def start(self) -> Side:
        return self.sides()[0]

    def sides(self) -> tuple[Side, ...]:
        if self.tau >= 1 or self.max_llm_share == 0 or self.max_llm_tokens == 0:
            return (Side.SLM,)
        return (Side.LLM,) if self.tau < 0 and not self.limited else (Side.SLM, Side.LLM)

    def initial_state(self) -> tuple[float, ...]:
        tau = min(threshold(self.tau), 1.0)
        parameters = (
            tau, _limit(self.max_llm_share if self.limited else None),
            _limit(self.max_llm_tokens), _limit(self.deadline), float(self.gain),
            float(self.shortest), float(self.after), float(self.longest),
            float(self.llm_token), float(self.slm_step), float(self.llm_step or 1.0),
        )  # fmt: skip
        memory = (tau, *[0.0] * (len(Row._fields) - len(parameters) - 1))
        return (*parameters, *memory)

    def decide_row(self, seen: RowSignals) -> tuple[Side, bool]:
        state, on_llm = seen.state, seen.side is Side.LLM
        sure = seen.entropy <= state[MOVING] <= state[TAU]
        if sure and not on_llm and state[LAST] > 0:
            # Nearly always. Nothing is asked for and tau cannot fall, so limits say nothing.
            now = seen.elapsed
            state[SLM_STEP] = _learnt(state[SLM_STEP], now - state[LAST], SEEN_SLM, True)
            state[KEPT] += 1
            state[LAST] = now
            return Side.SLM, True
        asks, row = _step(Row(*state), on_llm, seen.entropy, seen.elapsed, seen.context, min, max)
        seen.state = array("f", row)
        return handed_off(seen.side, bool(asks))

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        row, on_llm = Row(*state.double().unbind(1)), signals.side == Side.LLM
        now = signals.entropy.double(), signals.elapsed.double(), signals.context.double()
        asks, row = _step(row, on_llm, *now, _least, _most)
        return hand_off(signals, asks, ~asks, torch.stack(row, dim=1).float())


def _step(
    row: Row,
    on_llm: Number,
    entropy: Number,
    elapsed: Number,
    context: Number,
    least: Callable[[Number, Number], Number],
    most: Callable[[Number, Number], Number],
) -> tuple[Number, Row]:
    """(the LLM writes next, or this position; the state after it)."""
    row = _seen(row, on_llm, elapsed, context, most)
    kept, llm = row.kept, row.llm
    allowed = row.share * most(row.shortest, kept + row.after + 1) + 0.5 - llm
    others = least(row.most - llm, _tokens_in_time(row, context, most))
    asks = (entropy > row.moving) & (least(allowed, others) >= 1)
    rest = most(row.longest - kept, LEAST)
    rate = most(least(least(row.share * (kept + rest) + 0.5 - llm, others) / rest, 1.0), 0.0)
    keeps = on_llm | (asks ^ True)
    moved = row.moving * (1 + row.gain * (1.0 * on_llm - keeps * rate))
    moving = least(most(moved, row.tau), 1.0)
    return asks, row._replace(moving=moving, kept=kept + (keeps ^ on_llm))


def _seen(
    row: Row,
    on_llm: Number,
    elapsed: Number,
    context: Number,
    most: Callable[[Number, Number], Number],
) -> Row:
    """With a token of the LLM, which stays whoever is next, and the seconds since the proposal
    before. Those of the first say nothing: it has waited, and read the prompt. Nor do those of the
    LLM's first, which may have found it read already."""
    seconds, counts = elapsed - row.last, row.last > 0
    step = most(seconds - _behind(row, context, most) * row.llm_token, SHORTEST)
    return row._replace(
        slm_step=_learnt(row.slm_step, seconds, SEEN_SLM, counts & (on_llm ^ True)),
        llm_step=_learnt(row.llm_step, step, SEEN_LLM, on_llm & (row.read > 0)),
        kept=row.kept + on_llm,
        llm=row.llm + on_llm,
        read=row.read + on_llm * (row.kept + 2 - row.read),
        last=elapsed,
    )


def _learnt(known: Number, seconds: Number, steps: float, counts: Number) -> Number:
    """What a step is taken to cost after one more. Old ones fade: a machine is not always as fast,
    and the rest of the answer is written on the machine as it is now."""
    return known + counts * ((seconds - known) / steps)


def _behind(row: Row, context: Number, most: Callable[[Number, Number], Number]) -> Number:
    """Tokens that the LLM's next pass reads beside the last one: at first the prompt, which is
    taken to be as long for it as for the SLM, and new to it."""
    known = row.read > 0
    return known * most(row.kept - row.read + 1, 0.0) + (known ^ True) * most(context - 1, 0.0)


def _tokens_in_time(row: Row, context: Number, most: Callable[[Number, Number], Number]) -> Number:
    """LLM steps that fit before the deadline, beside what it has not read yet and the SLM's steps
    for the rest."""
    reading = _behind(row, context, most) * row.llm_token
    writing = most(row.longest - row.kept - 1, 0.0) * row.slm_step
    return (PLANNED * (row.deadline - row.last) - reading - writing) / row.llm_step


def _least(a: Tensor, b: Any) -> Tensor:
    return torch.clamp(a, max=b)


def _most(a: Tensor, b: Any) -> Tensor:
    return torch.clamp(a, min=b)


def _limit(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _need_range(name: str, value: Any, top: float) -> None:
    if not (is_number(value) and 0 <= value <= top and value < math.inf):
        upto = f"to {top:g}" if top < math.inf else "on"
        raise BadRequest(f"{name} is {value!r}; it must be a number from 0 {upto}")
