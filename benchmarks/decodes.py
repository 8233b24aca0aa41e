"""The `llama_decode` calls that an answer contains: the ceiling of whatever is built on llama.cpp.

Their seconds are taken in two ways. Contained: those of the calls themselves, where they stand; the
pairing is exact, and what the work between them does to the caches counts as theirs. Replayed: the
same calls once more when the answer is there, one after the other on rows of their own; whatever
the work between them costs counts as ours, and so does the noise of two runs. (Each call again
right after its pass, as `benchmarks.overhead` does it with torch, finds in the caches the weights
that the pass had to fetch, and its cells among those that both attend over: docs/log.md.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.bare import passes_through
from rstitch.llamacpp.batch import Batch
from rstitch.types import Side


class Decodes:
    """Notes the passes of one request at a time, and what their decodes took."""

    def __init__(self, runners: Mapping[Side, Any]) -> None:
        self.runners = runners
        self.seconds = 0.0
        """Of the decodes since the last `take`."""
        self._fed: list[tuple[Side, int, Sequence[int]]] = []
        """Side, tokens cached before, tokens fed."""

    def note(self, side: Side, extend: Callable[..., Any]) -> Callable[..., Any]:
        runner = self.runners[side]

        def noted(batch: Any, *args: Any) -> Any:
            if len(batch) == 1:
                self._fed.append((side, runner.cached(batch[0].row), list(batch[0].tokens)))
            return extend(batch, *args)

        return noted

    def clock(self, decode: Callable[[Any], None]) -> Callable[[Any], None]:
        def clocked(struct: Any) -> None:
            started = time.perf_counter()
            try:
                decode(struct)
            finally:
                self.seconds += time.perf_counter() - started

        return clocked

    def take(self) -> float:
        """Seconds contained in what ran since the last time."""
        taken, self.seconds = self.seconds, 0.0
        return taken

    def replay(self) -> float:
        """Seconds of the same calls by themselves. Nothing may be in flight."""
        rows = {side: self.runners[side].open() for side in {side for side, _, _ in self._fed}}
        total = sum(self._again(side, rows[side], at, ids) for side, at, ids in self._fed)
        for side, row in rows.items():
            self.runners[side].free(row)
        self._fed.clear()
        self.take()
        return total

    def _again(self, side: Side, row: int, at: int, tokens: Sequence[int]) -> float:
        runner = self.runners[side]
        runner.truncate(row, at)
        runner.kv.make_room(len(tokens))
        batch = Batch(len(tokens))
        batch.add(row, at, tokens, 1)
        started = time.perf_counter()
        runner.kv.context.decode(batch.struct)
        seconds = time.perf_counter() - started
        runner.kv.length[row] = at + len(tokens)
        return seconds


@contextmanager
def decodes_of(runners: Mapping[Side, Any]) -> Iterator[Decodes]:
    """While entered, what these runners decode is timed, and noted for a replay."""
    found = Decodes(runners)
    contexts = [runner.kv.context for runner in runners.values()]
    for context in contexts:
        context.decode = found.clock(context.decode)
    try:
        with passes_through(runners, found.note):
            yield found
    finally:
        for context in contexts:
            del context.decode
