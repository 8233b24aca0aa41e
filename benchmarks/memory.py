"""Whether memory stays where it is: thousands of requests through sixteen rows.

    python -m benchmarks.memory [--quick] [--save]

Greedy, stitched, prompts and answers of mixed lengths, every seventh cancelled midway. The resident
set of the process and the KV of both sides are read when nothing is in flight: after the first 50
requests, then after every further 50. The ratio is the largest resident set over the first.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import rstitch
from benchmarks.common import finish, parsed, parser, progress, say
from rstitch.api import Stitch, Stream
from rstitch.pairs.recipe.splits import problems
from rstitch.types import Side

ROWS = 16
WAVE = 50
REQUESTS, QUICK = 2000, 150
GOAL = 1.02
CANCEL_EVERY = 7
LENGTHS = (400, 12, 160, 60, 240, 30)
"""Tokens of an answer at most, in turn; the longest comes in every wave."""


@dataclass(frozen=True)
class Reading:
    """What the process holds after so many requests, with nothing in flight."""

    requests: int
    resident: int
    kv: int


def resident_bytes() -> int:
    """Of this process: the second field of /proc/self/statm, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kv_bytes(stitch: Stitch) -> int:
    return sum(model.runner.nbytes for model in stitch.models.values())


def wave(stitch: Stitch, questions: list[str], first: int) -> int:
    """Run these requests to their end, or to where they are cancelled; tokens kept."""
    streams = [
        (number, stitch.stream(question, max_tokens=LENGTHS[number % len(LENGTHS)]))
        for number, question in enumerate(questions, first)
    ]
    return sum(_read(stream, number) for number, stream in streams)


def _read(stream: Stream, number: int) -> int:
    cancelled = number % CANCEL_EVERY == 0
    for _ in islice(stream, 5 if cancelled else None):
        pass
    stream.close()
    return sum(proposal.keep for proposal in stream.trace.proposals)


def readings(stitch: Stitch, total: int) -> tuple[list[Reading], int]:
    asked = [problem.question for seed in (0, 1) for problem in problems("dev", seed=seed)]
    found, tokens = [], 0
    for first in range(0, total, WAVE):
        wanted = [asked[n % len(asked)] for n in range(first, min(first + WAVE, total))]
        tokens += wave(stitch, wanted, first)
        while not stitch.engine.idle:  # a cancellation that came after the end
            stitch.engine.step()
        for model in stitch.models.values():
            assert model.runner.kv.length == {}, model.runner.kv.length
            model.runner.kv.check_integrity()
        found.append(Reading(first + len(wanted), resident_bytes(), kv_bytes(stitch)))
        if first % (4 * WAVE) == 0:
            last = found[-1]
            progress(f"{last.requests} requests: {last.resident / 2**20:.1f} MiB resident")
    return found, tokens


def main() -> None:
    args = parsed(parser(__doc__, f"{QUICK} requests"))
    total = QUICK if args.quick else REQUESTS
    started = time.perf_counter()
    with rstitch.load(max_rows=ROWS) as stitch:
        found, tokens = readings(stitch, total)
        bound = {side.label: stitch.engine.stats()["kv"][side.label]["bound"] for side in Side}
    report(found, tokens, time.perf_counter() - started, bound, args.save)


def report(
    found: list[Reading], tokens: int, seconds: float, bound: dict[str, int], save: bool
) -> None:
    first, worst = found[0], max(found, key=lambda one: one.resident)
    ratio = worst.resident / first.resident
    say(f"{'requests':>8} {'resident MiB':>13} {'KV MiB':>7}")
    for one in (first, worst, found[-1]):
        say(f"{one.requests:8} {one.resident / 2**20:13.1f} {one.kv / 2**20:7.1f}")
    say(f"largest over first: {ratio:.4f} (goal: at most {GOAL}); {tokens} tokens, {seconds:.0f} s")
    details: dict[str, Any] = {
        "better": "lower",
        "rows": ROWS,
        "requests": found[-1].requests,
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "resident_mib": [round(one.resident / 2**20, 2) for one in found],
        "kv_mib": [round(one.kv / 2**20, 2) for one in found],
        "kv_bound_bytes": bound,
    }
    finish("memory", ratio, GOAL, details, save)


if __name__ == "__main__":
    main()
