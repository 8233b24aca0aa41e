"""The bare forward passes of an answer: the ceiling that an engine's time is held against."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rstitch.engine.runner import Extend, Row, Runner
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


class Twins:
    """Beside one request's rows, rows that are fed the same by nobody but the clock."""

    def __init__(self, runners: Mapping[Side, Runner]) -> None:
        self.extends = {side: runner.extend for side, runner in runners.items()}
        self.runners = runners
        self.rows: dict[Side, Row] = {}
        self.fed: list[tuple[Side, int, Sequence[int]]] = []
        """Passes that the engine has run since: side, tokens cached before, tokens fed."""

    def seconds(self) -> float:
        """Seconds of the bare passes of what the engine has run since the last call."""
        total = 0.0
        for side, cached, tokens in self.fed:
            if side not in self.rows:
                self.rows[side] = self.runners[side].open()
            batch = [Extend(self.rows[side], tokens)]
            self.runners[side].truncate(self.rows[side], cached)
            started = time.perf_counter()
            self.extends[side](batch)
            total += time.perf_counter() - started
        self.fed.clear()
        return total

    def end(self) -> None:
        """The answer is written; the next one gets new rows."""
        for side, row in self.rows.items():
            self.runners[side].free(row)
        self.rows.clear()


@contextmanager
def twins_of(runners: Mapping[Side, Runner]) -> Iterator[Twins]:
    """While entered, what an engine feeds its rows, one request at a time, is fed to twins too."""
    twins = Twins(runners)

    def wrap(side: Side, extend: Callable[..., Any]) -> Callable[..., Any]:
        def noted(batch: Sequence[Extend], *args: Any) -> Any:
            (item,) = batch
            twins.fed.append((side, runners[side].cached(item.row), item.tokens))
            return extend(batch, *args)

        return noted

    with passes_through(runners, wrap):
        yield twins
    twins.end()


@contextmanager
def passes_through(
    runners: Mapping[Side, Runner], wrap: Callable[[Side, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """While entered, each runner's `extend` is what `wrap(side, extend)` makes of it; nestable."""
    before = {side: vars(runner).get("extend") for side, runner in runners.items()}
    for side, runner in runners.items():
        runner.extend = wrap(side, runner.extend)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for side, runner in runners.items():
            if before[side] is None:
                del runner.extend  # type: ignore[attr-defined]
            else:
                runner.extend = before[side]  # type: ignore[method-assign]
