"""What each vLLM engine did and when, as its worker saw it.

The clock (`time.perf_counter`, monotonic) is one for all processes of a machine, so the two
engines' passes lie on one line of time.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.vllm_load import Window
from rstitch.types import Side
from rstitch.vllm.starting import environment

WHERE = "RSTITCH_PASSES"
"""Variable: the directory in which workers write."""
WORKER = "benchmarks.vllm_worker.Timed"
"""For vLLM's `worker_cls`."""
IDLE = 0.002
"""Seconds without a pass that are no more than what lies between two."""


@dataclass(frozen=True, slots=True)
class Pass:
    begin: float
    end: float
    tokens: tuple[int, ...]
    """That each row fed."""

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@contextmanager
def recording(root: Path) -> Iterator[None]:
    """Workers started within, with `worker_cls` = WORKER, write below that directory."""
    with environment({WHERE: str(root)}):
        yield


def passes(root: Path, side: Side, window: Window) -> list[Pass]:
    """Of that side, whole within the window."""
    lines = (root / f"{side.label}.jsonl").read_text().splitlines()
    found = (Pass(begin, end, tuple(tokens)) for begin, end, tokens in map(json.loads, lines))
    return [one for one in found if window.begin <= one.begin and one.end <= window.end]


def timeline(sides: dict[Side, list[Pass]], window: Window) -> dict[str, dict[str, float]]:
    """Per side: passes, the part of the time that it computes, and that it does while the other
    does; rows, tokens and seconds of a pass; and the idle stretches: how many, and their part."""
    seconds = window.end - window.begin
    found = {}
    for side, mine in sides.items():
        pairs = zip(mine, mine[1:], strict=False)
        idle = [gap for a, b in pairs if (gap := b.begin - a.end) > IDLE]
        found[side.label] = {
            "passes": len(mine),
            "busy": sum(one.seconds for one in mine) / seconds,
            "both": together(mine, sides[side.other]) / seconds,
            "rows": _mean(len(one.tokens) for one in mine),
            "tokens": _mean(sum(one.tokens) for one in mine),
            "seconds": _mean(one.seconds for one in mine),
            "idle_times": len(idle),
            "idle": sum(idle) / seconds,
        }
    return found


def together(some: Sequence[Pass], others: Sequence[Pass]) -> float:
    """Seconds that lie in a pass of both. Each list is in order, and its passes do not overlap."""
    total, at = 0.0, 0
    for one in some:
        while at < len(others) and others[at].end <= one.begin:
            at += 1
        for other in others[at:]:
            if other.begin >= one.end:
                break
            total += min(one.end, other.end) - max(one.begin, other.begin)
    return total


def by_tokens(found: Iterable[Pass]) -> dict[int, float]:
    """Median seconds of a pass by the tokens that it feeds, a decode step's by its rows."""
    return _medians((sum(one.tokens), one.seconds) for one in found)


def by_rows(found: Iterable[Pass]) -> dict[int, float]:
    """Of decode steps."""
    return _medians((len(one.tokens), one.seconds) for one in found if set(one.tokens) == {1})


def _medians(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    groups = defaultdict[int, list[float]](list)
    for key, seconds in pairs:
        groups[key].append(seconds)
    return {key: statistics.median(groups[key]) for key in sorted(groups)}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0
