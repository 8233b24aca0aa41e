"""What stitching on two engines could bring at most, by what their passes cost alone.

Answers as the benchmark asks for them, hand-offs by coins, passes at measured prices; between
passes nothing takes time, a hand-off none either, and neither side slows the other down. `apart`:
each engine has cores of its own, and runs whenever a row is there. Else they take turns on all
cores, and the LLM runs from so many waiting rows on as is best.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.vllm_pair import LEAVE, PROMPT, RETURN, TOKENS_EACH
from rstitch.types import Side

SECONDS = 300.0
"""That are simulated."""
Prices = Mapping[Side, Mapping[int, float]]
"""Seconds of a pass: the LLM's by its tokens, the SLM's, mostly head and gate, by its rows."""


@dataclass(slots=True)
class Row:
    """One answer after the other."""

    left: int
    side: Side = Side.SLM
    unseen: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, PROMPT))

    def read(self, rng: random.Random) -> int:
        """A pass of its side over it is done; returns the tokens kept."""
        mine, other = self.side, self.side.other
        self.unseen[mine] = 0
        leaves = rng.random() < (RETURN if mine is Side.LLM else LEAVE)
        self.side = other if leaves else mine
        if leaves and mine is Side.SLM:
            return 0
        self.unseen[mine] = 1
        self.unseen[other] += 1
        self.left -= 1
        if not self.left:
            self.left, self.side, self.unseen = TOKENS_EACH, Side.SLM, dict.fromkeys(Side, PROMPT)
        return 1


def rows_of(count: int) -> list[Row]:
    """At the beginning, with different lengths left."""
    return [Row(TOKENS_EACH * (i + 1) // count or 1) for i in range(count)]


def price(known: Mapping[int, float], count: int) -> float:
    """Seconds, between what is known by a straight line, and beyond it by the last one."""
    at, seconds = np.array(list(known), float), np.array(list(known.values()), float)
    if count <= at[-1] or len(at) == 1:
        return float(np.interp(count, at, seconds))
    slope = (seconds[-1] - seconds[0]) / (at[-1] - at[0])
    return float(seconds[-1] + slope * (count - at[-1]))


def apart(count: int, prices: Prices, seed: int = 0) -> float:
    """Tokens per second where each engine has its own cores."""
    rng, rows = random.Random(seed), rows_of(count)
    now, kept = 0.0, 0
    ends = dict.fromkeys(Side, 0.0)
    running: dict[Side, list[Row]] = {side: [] for side in Side}
    while now < SECONDS:
        for side in Side:
            busy = [row for one in running.values() for row in one]
            mine = [row for row in rows if row.side is side and not any(row is b for b in busy)]
            if not running[side] and mine:
                running[side], ends[side] = mine, now + _seconds(mine, side, prices)
        side = min((one for one in Side if running[one]), key=lambda one: ends[one])
        now, done = ends[side], running[side]
        running[side] = []
        kept += sum(row.read(rng) for row in done)
    return kept / now


def in_turns(count: int, prices: Prices, seed: int = 0) -> float:
    """Tokens per second where they take turns, with the best number of rows to wait for."""
    return max(_in_turns(count, prices, least, seed) for least in range(1, count + 1))


def _in_turns(count: int, prices: Prices, least: int, seed: int) -> float:
    rng, rows = random.Random(seed), rows_of(count)
    now, kept = 0.0, 0
    while now < SECONDS:
        waiting = [row for row in rows if row.side is Side.LLM]
        side = Side.LLM if len(waiting) >= least else Side.SLM
        mine = [row for row in rows if row.side is side]
        now += _seconds(mine, side, prices)
        kept += sum(row.read(rng) for row in mine)
    return kept / now


def _seconds(rows: Sequence[Row], side: Side, prices: Prices) -> float:
    fed = [max(1, row.unseen[side]) for row in rows]
    return price(prices[side], sum(fed) if side is Side.LLM else len(fed))
