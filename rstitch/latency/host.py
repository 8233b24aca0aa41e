"""What an engine's step takes beside its forward pass: scheduling, committing, events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.latency import fit
from rstitch.latency.costs import Host
from rstitch.policy import make
from rstitch.types import Failed, Finished, Sampling, Side

TOKENS = 24
"""Of each answer; fewer where a row holds no more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Steps of some rows: seconds of one outside its pass, on average."""

    rows: int
    seconds: float


def measure(engine: InProcessEngine, most: int) -> list[Seen]:
    """Write short answers with one in flight and with up to 16. Nothing else may be."""
    return [_steps(engine, rows) for rows in sorted({1, min(16, most)})]


def fitted(seen: Sequence[Seen]) -> Host:
    """No time where none was seen, as on a clock that only passes move."""
    kept = [one for one in seen if one.seconds > 0]
    if not kept:
        return Host()
    x = np.array([[1.0, one.rows] for one in kept])
    step, row = fit.solve(x, np.array([one.seconds for one in kept])).tolist()
    return Host(step, row)


def _steps(engine: InProcessEngine, rows: int) -> Seen:
    policy = make("slm")
    length = min(TOKENS, engine.rows.limits[Side.SLM] - 2)
    for _ in range(rows):
        request = Request(
            {Side.SLM: (0, 1)}, policy, Sampling(seed=0), max_tokens=max(1, length), ignore_eos=True
        )
        engine.submit(request)
    steps, total, passes = 0, 0.0, 0.0
    while not engine.idle:
        started = engine.clock()
        events = engine.step()
        total += engine.clock() - started
        steps += 1
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                passes += sum(one.seconds / one.rows for one in event.forwards)
    return Seen(rows, max(0.0, total - passes) / max(1, steps))
