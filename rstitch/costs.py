"""What a step costs, and when the LLM should run: the waiting table. No torch here.

An LLM step costs about the same for one row as for sixteen, so with several requests in flight
rows should wait for each other; running the LLM for each as it comes loses to the plain LLM from
four to eight requests on. How many should wait follows from the step costs and the hand-off
probabilities by the average reward of a small semi-Markov chain (docs/algorithm.md, section 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb, isfinite
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rstitch.errors import BadRequest
from rstitch.types import Side

PROFILE_FIELDS = ("base", "per_row")
Reals = np.ndarray[Any, np.dtype[np.float64]]


class StepCosts(Protocol):
    """Predicted seconds of one forward pass."""

    def seconds(self, side: Side, rows: int) -> float: ...


@dataclass(frozen=True, slots=True)
class LinearCosts:
    """Base seconds of each side's step and seconds per further row, indexed by `Side`."""

    base: tuple[float, float]
    per_row: tuple[float, float]

    def seconds(self, side: Side, rows: int) -> float:
        return self.base[side] + self.per_row[side] * rows


def load_profile(path: str | Path) -> LinearCosts:
    """Step costs from {"slm": {"base": seconds, "per_row": seconds}, "llm": {...}}.

    Further keys are left to others. Raises BadRequest that names the file and what is wrong in it.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRequest(f"profile {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadRequest(f"profile {path} is no JSON: {error}") from error
    base, per_row = (tuple(_seconds(path, found, s, key) for s in Side) for key in PROFILE_FIELDS)
    return LinearCosts((base[0], base[1]), (per_row[0], per_row[1]))


def save_profile(path: str | Path, costs: LinearCosts, **about: Any) -> None:
    """Write what `load_profile` reads, with `about` beside it. Raises BadRequest if it cannot."""
    sides = {
        side.label: {"base": costs.base[side], "per_row": costs.per_row[side]} for side in Side
    }
    try:
        Path(path).write_text(json.dumps({**sides, **about}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"profile {path} cannot be written: {error.strerror}") from error


def _seconds(path: str | Path, found: Any, side: Side, key: str) -> float:
    try:
        value = found[side.label][key]
    except (KeyError, TypeError):
        raise BadRequest(f'profile {path} has no "{side.label}": {{"{key}": seconds}}') from None
    number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not number or value < 0 or (key == "base" and value == 0):
        least = "above 0" if key == "base" else "0 or more"
        raise BadRequest(
            f"profile {path}: {side.label}.{key} is {value!r}; it must be {least} (seconds)"
        )
    return float(value)


@dataclass(slots=True)
class ObservedCosts:
    """Step costs learnt while running: per side, a least-squares line over (rows, seconds).

    Old steps fade (`memory` of them count), so the line follows context growth and load. What is
    known before the first step is put in as steps too (`expect`), and fades with them.
    """

    memory: float = 200.0
    _sums: list[tuple[float, ...]] = field(default_factory=lambda: [(0.0,) * 5 for _ in Side])
    _reads: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0) for _ in Side])
    """Per side, the tokens that passes have read beside one for each row, and seconds for them."""

    def observe(self, side: Side, rows: int, seconds: float) -> None:
        n, x, y, xx, xy = self._sums[side]
        fade = 1 - 1 / self.memory
        self._sums[side] = (
            n * fade + 1.0,
            x * fade + rows,
            y * fade + seconds,
            xx * fade + rows * rows,
            xy * fade + rows * seconds,
        )

    def observe_reading(self, side: Side, rows: int, tokens: int, seconds: float) -> None:
        """A pass that fed more tokens than rows. Says nothing where no step is known yet."""
        step, fade = self.seconds(side, rows), 1 - 1 / self.memory
        if step:
            read, spent = self._reads[side]
            self._reads[side] = (
                read * fade + tokens - rows,
                spent * fade + seconds - step,
            )

    def expect_reading(self, side: Side, seconds: float) -> None:
        """Start from what was measured: as if one token had been read in that time."""
        self._reads[side] = 1.0, seconds

    def reading(self, side: Side) -> float:
        """Seconds for each token that a pass feeds beside a row's one; until passes have shown it,
        what a further row takes in a step, which is as many products."""
        read, spent = self._reads[side]
        if read:
            return max(spent / read, 0.0)
        return self.seconds(side, 2) - self.seconds(side, 1)

    def expect(self, costs: StepCosts, rows: int, weight: int = 20) -> None:
        """Start from a profile: as if `weight` steps had been seen, half of one row, half of
        `rows`."""
        for side in Side:
            for count in (1, max(rows, 2)) * (weight // 2):
                self.observe(side, count, costs.seconds(side, count))

    def line(self, rows: int) -> LinearCosts:
        """The line itself, through what steps of one row and of `rows` take."""
        ends = [(self.seconds(side, 1), self.seconds(side, max(rows, 2))) for side in Side]
        slopes = [(many - one) / (max(rows, 2) - 1) for one, many in ends]
        base = [max(one - slope, 1e-9) for (one, _), slope in zip(ends, slopes, strict=True)]
        return LinearCosts((base[0], base[1]), (slopes[0], slopes[1]))

    def seconds(self, side: Side, rows: int) -> float:
        """0 where the side has never run."""
        n, x, y, xx, xy = self._sums[side]
        if n == 0:
            return 0.0
        spread = xx - x * x / n
        slope = max((xy - x * y / n) / spread, 0.0) if spread > 1e-9 * xx else 0.0
        return float(max(y / n + slope * (rows - x / n), 0.1 * y / n))


@dataclass(slots=True)
class ObservedRates:
    """How often control leaves each side, learnt while running; fades like the costs."""

    memory: float = 500.0
    seen: list[float] = field(default_factory=lambda: [20.0, 4.0])
    left: list[float] = field(default_factory=lambda: [2.0, 2.0])

    def observe(self, side: Side, rows: int, left: int) -> None:
        fade = max(0.0, 1 - rows / self.memory)
        self.seen[side] = self.seen[side] * fade + rows
        self.left[side] = self.left[side] * fade + left

    def probability(self, side: Side) -> float:
        """Of a proposal of that side passing control on, kept inside 0.001..0.999."""
        return min(max(self.left[side] / self.seen[side], 0.001), 0.999)


@lru_cache(maxsize=4096)
def _binomial(n: int, p: float) -> tuple[float, ...]:
    return tuple(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1))


@dataclass(frozen=True, slots=True)
class _Chain:
    """What a step of either side does, by how many of n rows wait for the LLM; [0] is the SLM's."""

    moves: Reals
    """(2, n + 1, n + 1): probability of so many waiting after it."""
    tokens: Reals
    """(2, n + 1): kept tokens."""
    seconds: Reals

    @classmethod
    def of(cls, n: int, p: float, q: float, cost: Callable[[Side, int], float]) -> _Chain:
        moves = np.zeros((2, n + 1, n + 1))
        tokens, seconds = np.zeros((2, n + 1)), np.zeros((2, n + 1))
        for waiting in range(n + 1):
            writing = n - waiting
            if writing:
                moves[0, waiting, waiting:] = _binomial(writing, p)
                tokens[0, waiting], seconds[0, waiting] = writing * (1 - p), cost(Side.SLM, writing)
            if waiting:
                moves[1, waiting, : waiting + 1] = _binomial(waiting, q)[::-1]
                tokens[1, waiting], seconds[1, waiting] = waiting, cost(Side.LLM, waiting)
        return cls(moves, tokens, seconds)

    def throughput(self, threshold: int) -> float:
        """Kept tokens per second where the LLM runs from `threshold` waiting on."""
        waiting = np.arange(len(self.tokens[0]))
        llm = ((waiting >= threshold) | (waiting == waiting[-1])).astype(int)
        often = _stationary(self.moves[llm, waiting])
        return float(often @ self.tokens[llm, waiting] / (often @ self.seconds[llm, waiting]))


def _stationary(chain: Reals) -> Reals:
    """How often a Markov chain is in each state; one of several answers where there are several."""
    states = len(chain)
    system = np.vstack([(chain.T - np.eye(states))[1:], np.ones(states)])
    target = np.append(np.zeros(states - 1), 1.0)
    try:
        often: Reals = np.linalg.solve(system, target)
    except np.linalg.LinAlgError:
        often = np.linalg.lstsq(system, target, rcond=None)[0]
    return often


def throughput(
    n: int, threshold: int, p: float, q: float, cost: Callable[[Side, int], float]
) -> float:
    """Kept tokens per second with n rows in flight when the LLM runs from `threshold` waiting on.

    One device, one batch at a time. p: an SLM proposal is discarded and its row waits for the LLM;
    q: a row returns after an LLM token.
    """
    return _Chain.of(n, p, q, cost).throughput(threshold)


def best_threshold(n: int, p: float, q: float, cost: Callable[[Side, int], float]) -> int:
    """How many of n rows should wait before the LLM runs; the optimal rule is such a threshold."""
    return max(range(1, n + 1), key=_Chain.of(n, p, q, cost).throughput)


@dataclass(slots=True)
class WaitingTable:
    """The threshold for the present number of rows, from observed costs and rates.

    Solved again when the number of rows is new or the answer is older than `refresh` asks.
    """

    costs: StepCosts
    rates: ObservedRates
    refresh: int = 400
    _solved: dict[int, tuple[int, int]] = field(default_factory=dict)
    _asked: int = 0

    def threshold(self, n: int) -> int:
        self._asked += 1
        answer, at = self._solved.get(n, (1, -self.refresh))
        if n > 1 and self._asked - at >= self.refresh and self.costs.seconds(Side.LLM, 1) > 0:
            p, q = (self.rates.probability(side) for side in Side)
            answer = best_threshold(n, round(p, 3), round(q, 3), self.costs.seconds)
            self._solved[n] = (answer, self._asked)
        return answer
