"""How many CPU threads a forward pass runs with: what was fastest for passes of its size.

A decode step of a small model is over before a second thread has woken up, a catch-up of a hundred
tokens takes three quarters of the time with it (docs/log.md), and beside other work waiting for a
second thread can cost twenty times the step. No constant fits, so every size of pass is timed with
each count, and what was slower is tried again as often as a hundredth of the time pays for. The
same goes for the gate, whose operations on a large vocabulary torch would spread over all threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from rstitch.config import EngineConfig

TRIALS = 4
"""Passes with each count before one is preferred."""
MEMORY = 16
"""Passes that a mean remembers."""
PAUSE = 32
"""Passes between two trials of a count, at least."""
REGRET = 0.01
"""Share of the time that trials may cost."""
OUTLIER = 4.0
"""A pass counts for at most so many means: memory that had to grow says nothing about threads."""


@dataclass(slots=True)
class _Timing:
    """What one count of threads takes for passes of one size."""

    seen: int = 0
    per_token: float = 0.0
    """Mean seconds."""
    since: int = 0
    """Passes of this size since it was last tried."""
    spent: float = 0.0
    """Their seconds."""

    def observe(self, per_token: float) -> None:
        if self.seen:
            per_token = min(per_token, OUTLIER * self.per_token)
        self.seen = min(self.seen + 1, MEMORY)
        self.per_token += (per_token - self.per_token) / self.seen


class Threads:
    """Chooses for one model; `choices` are the counts that it may have, from few to many."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] = time.perf_counter,
        apply: Callable[[int], None] | None = None,
    ) -> None:
        """`apply` gives a count to something other than torch, which then keeps it."""
        self.choices = [*_powers_below(most), most]
        self.clock = clock
        self.apply = apply
        self.kept = most
        self._sizes: dict[int, dict[int, _Timing]] = {}

    @contextmanager
    def chosen(self, tokens: int) -> Iterator[None]:
        """While entered, the count is the one that suits a pass of so many tokens; it is timed."""
        timings = self._sizes.setdefault(
            tokens.bit_length(), {count: _Timing() for count in self.choices}
        )
        count = self._pick(timings, tokens)
        before = self._set(count)
        started = self.clock()
        try:
            yield
            seconds = self.clock() - started
        finally:
            if count != before:
                torch.set_num_threads(before)
        for timing in timings.values():
            timing.since += 1
            timing.spent += seconds
        timing = timings[count]
        timing.observe(seconds / tokens)
        timing.since, timing.spent = 0, 0.0

    def _set(self, count: int) -> int:
        """Returns the count to go back to afterwards: torch's own is everybody's."""
        if self.apply is None:
            before = torch.get_num_threads()
            if count != before:
                torch.set_num_threads(count)
            return before
        if count != self.kept:
            self.apply(count)
            self.kept = count
        return count

    def _pick(self, timings: dict[int, _Timing], tokens: int) -> int:
        rare = min(self.choices, key=lambda count: timings[count].seen)
        if timings[rare].seen < TRIALS:
            return rare
        best = min(self.choices, key=lambda count: timings[count].per_token)
        for count, timing in timings.items():
            loss = (timing.per_token - timings[best].per_token) * tokens
            if timing.since >= PAUSE and timing.spent * REGRET >= loss:
                return count
        return best


def threads_for(config: EngineConfig) -> Threads | None:
    """A choice per pass where nobody said how many, and there is more than one on this machine."""
    free = config.threads is None and config.device == "cpu" and torch.get_num_threads() > 1
    return Threads(torch.get_num_threads()) if free else None


def _powers_below(most: int) -> list[int]:
    return [1 << i for i in range(most.bit_length()) if 1 << i < most]
