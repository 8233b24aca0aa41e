"""Timed passes on a live engine: its own runners and gate, on rows that answer nobody."""

from __future__ import annotations

from collections.abc import Sequence as Many

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend, Row
from rstitch.engine.sequence import Sequence
from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.types import Sampling, Side

RULE = make("entropy", tau=0.5)
"""So that the gate does what it does for R-Stitch."""


class Bench:
    """Rows on both sides of an engine in which nothing is in flight. A context manager."""

    def __init__(self, engine: InProcessEngine, sampling: Sampling | None = None) -> None:
        """Raises BadRequest where answers are being written."""
        if not engine.idle:
            raise BadRequest("answers are being written; measure before the first, or after all")
        engine.forget()
        self.engine = engine
        self.sampling = (sampling or Sampling(seed=0)).seeded()
        self._open: list[tuple[Side, Row]] = []

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        while self._open:
            side, row = self._open.pop()
            self.engine.runners[side].free(row)

    def rows(self, side: Side, count: int) -> list[Row]:
        """So many new ones; freed at the end."""
        found = []
        for _ in range(count):
            found.append(self.engine.runners[side].open())
            self._open.append((side, found[-1]))
        return found

    def fits(self, side: Side, rows: int, tokens: int) -> bool:
        return self.engine.runners[side].fits([tokens] * rows)

    def grow(self, side: Side, rows: Many[Row], cached: Many[int]) -> None:
        """Feed each of them up to so many tokens, untimed, or cut it back to them."""
        runner, most = self.engine.runners[side], self.engine.config.max_step_tokens
        wanted = dict(zip(rows, cached, strict=True))
        while short := [row for row in rows if runner.cached(row) < wanted[row]]:
            chunk, fed = max(1, most // len(short)), []
            for row in short:
                have = runner.cached(row)
                tokens = _tokens(have, min(chunk, wanted[row] - have), runner.vocab_size)
                fed.append(Extend(row, tokens))
            runner.extend(fed)
        for row, length in wanted.items():
            if runner.cached(row) > length:
                runner.truncate(row, length)

    def seconds(self, side: Side, rows: Many[Row], counts: Many[int]) -> float:
        """Of one pass that feeds row i counts[i] tokens and reads what follows, as a step does."""
        runner, clock = self.engine.runners[side], self.engine.clock
        fed, asked = [], []
        for row, count in zip(rows, counts, strict=True):
            have = runner.cached(row)
            fed.append(Extend(row, _tokens(have, count, runner.vocab_size)))
            asked.append(self._asked(side, row, have + count))
        started = clock()
        self.engine.loop.read(side, asked, fed)
        return clock() - started

    def _asked(self, side: Side, row: Row, length: int) -> Sequence:
        request = Request(dict.fromkeys(Side, (0,) * length), RULE, self.sampling)
        sequence = self.engine.sequence(request, "bench", self.sampling.seed or 0)
        sequence.side, sequence.text = side, None
        sequence.rows[side] = row
        return sequence


def _tokens(start: int, count: int, vocab_size: int) -> list[int]:
    """Ids that differ from position to position."""
    return [(7 * position + 3) % vocab_size for position in range(start, start + count)]
