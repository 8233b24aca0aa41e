"""The bare forward passes of an answer: the ceiling that an engine's time is held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rstitch.engine.runner import Extend, Runner
from rstitch.types import Forward, Side


def bare_seconds(
    runners: Mapping[Side, Runner],
    prompts: Mapping[Side, Sequence[int]],
    kept: Sequence[int],
    forwards: Sequence[Forward],
) -> float:
    """Seconds of the same passes of one answer that was written alone, without gate, sampling and
    bookkeeping: same modules, mode, rows and KV lengths. `kept` are the answer's token ids."""
    ids = {side: [*prompt, *kept] for side, prompt in prompts.items()}
    rows = {side: runners[side].open() for side in {forward.side for forward in forwards}}
    total = 0.0
    for forward in forwards:
        runner, row = runners[forward.side], rows[forward.side]
        fed = ids[forward.side][forward.context - forward.new_tokens : forward.context]
        started = time.perf_counter()
        runner.extend([Extend(row, fed)])
        total += time.perf_counter() - started
    for side, row in rows.items():
        runners[side].free(row)
    return total


@contextmanager
def passes_through(
    runners: Mapping[Side, Runner], wrap: Callable[[Side, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """While entered, each runner's `extend` is what `wrap(side, extend)` makes of it."""
    for side, runner in runners.items():
        runner.extend = wrap(side, runner.extend)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for runner in runners.values():
            del runner.extend  # type: ignore[attr-defined]
