"""What a step costs on this machine, measured before the first rows have to wait for each other.

A handful of decode steps per side, with one row and with many; the waiting table starts from that
line and then learns from the real steps. Whoever has a profile, or one row only, pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from statistics import median

from rstitch.costs import ObservedCosts
from rstitch.engine.runner import Extend, Runner
from rstitch.types import Side

ROWS = 16
READ = 16
"""Tokens of a pass that shows what reading costs: no more, since requests may be waiting."""
REPEATS = 3
CONTEXT = 2 + REPEATS
"""Tokens per row in the end: a first pass that is not timed, then one per repeat, and one spare."""
WEIGHT = 20
"""Real steps that outweigh what was measured."""


def measure(
    runners: Mapping[Side, Runner],
    held: Mapping[Side, list[int]],
    costs: ObservedCosts,
    most: int,
    clock: Callable[[], float],
    steps: Mapping[Side, Callable[[int], float]] | None = None,
) -> None:
    """Put the cost of steps of one row and of several into `costs`, and that of reading. `steps`:
    seconds of a step of so many rows, for sides that decode otherwise than by `extend`.

    A step that fails here is left out: it says nothing of any request, whose own pass will tell.
    `held` are the lengths of the rows that are open already; `most` rows may be open at once.
    """
    for side, runner in runners.items():
        for count in sorted({1, min(ROWS, most - len(held[side]))}):
            if count > 0 and runner.fits([*held[side], *[CONTEXT] * count]):
                try:
                    own = (steps or {}).get(side)
                    seconds = own(count) if own else _step(runner, count, clock)
                except Exception:
                    continue
                for _ in range(WEIGHT // 2):
                    costs.observe(side, count, seconds)
        room = runner.max_length >= READ * CONTEXT and len(held[side]) < most
        if room and runner.fits([*held[side], READ * CONTEXT]):
            with suppress(Exception):
                costs.observe_reading(side, 1, READ, _step(runner, 1, clock, READ))


def _step(runner: Runner, count: int, clock: Callable[[], float], tokens: int = 1) -> float:
    rows = [runner.open() for _ in range(count)]
    try:
        batch, seconds = [Extend(row, (0,) * tokens) for row in rows], []
        for _ in range(1 + REPEATS):
            started = clock()
            runner.extend(batch)[0].max().item()  # reading waits for a device to be done
            seconds.append(clock() - started)
        return median(seconds[1:])
    finally:
        for row in rows:
            runner.free(row)
