"""What an answer took, in seconds that no clock measured: the sum of its forward passes' prices.

A clock would reward whatever ran while the machine was idle, and many rollouts share passes. Any
function from a trace to seconds will do (`Price`); this one knows one number per pass and one per
token that is fed beyond the first. A further row of a batch, which the engine measures, costs
several times what a further token of a prompt does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch.costs import LinearCosts
from rstitch.engine.runner import Extend, Runner
from rstitch.trace import Trace
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

CACHED, FED, ROUNDS = 120, 64, 9
"""Tokens in the cache while a pass is timed, those of a long pass, and how often each is timed."""

Price = Callable[[Trace], float]
"""Predicted seconds of an answer that is alone on the machine."""


@dataclass(frozen=True, slots=True)
class PassPrices:
    """Seconds of a pass (`base`) and of each token that it feeds (`per_row`)."""

    costs: LinearCosts

    def __call__(self, trace: Trace) -> float:
        return sum(self.costs.seconds(one.side, one.new_tokens) for one in trace.forwards)

    @property
    def hand_off(self) -> float:
        """What leaving the SLM takes at least: its pass in vain, and one of the LLM."""
        return sum(self.costs.seconds(side, 1) for side in Side)


def measured(stitch: Stitch) -> LinearCosts:
    """Of this pair on this machine, from passes of one row. Nothing may be in flight.

    On the CPU in seconds of this process's own work, so that others there matter less.
    """
    stitch.in_process.forget()
    ends = [_pass_seconds(stitch.in_process.runners[side]) for side in Side]
    slopes = [max(0.0, (long - short) / (FED - 1)) for short, long in ends]
    base = [max(short - slope, 1e-9) for (short, _), slope in zip(ends, slopes, strict=True)]
    return LinearCosts((base[0], base[1]), (slopes[0], slopes[1]))


def _pass_seconds(runner: Runner) -> tuple[float, float]:
    """Median of a pass of one token, and of `FED`."""
    token = min(20, runner.vocab_size - 1)
    room = min(CACHED, runner.max_length - FED)
    clock = time.process_time if _on_cpu(runner) else time.perf_counter
    found = []
    row = runner.open()
    try:
        runner.extend([Extend(row, [token] * room)])
        for count in (1, FED):
            times = []
            for _ in range(ROUNDS):
                started = clock()
                runner.extend([Extend(row, [token] * count)])
                times.append(clock() - started)
                runner.truncate(row, room)
            found.append(statistics.median(times))
    finally:
        runner.free(row)
    return found[0], found[1]


def _on_cpu(runner: Runner) -> bool:
    device = getattr(runner, "device", None)
    return device is None or device.type == "cpu"
