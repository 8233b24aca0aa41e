"""Bare steps: what the device takes for one step of fixed shape, and the floor beside it."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_pair import Pair, weight_bytes
from rstitch.engine.runner import Extend
from rstitch.engine.static.blocks import PLACES, ROWS, WIDTHS
from rstitch.engine.static.lines import MOST, Line
from rstitch.engine.static.step import Asked
from rstitch.policy import make
from rstitch.types import Side

REPEATS = 5
MORE = 128
"""Tokens that a timed sequence of steps feeds to a row at most, beside the first."""


def bandwidth(pair: Pair) -> float:
    """Bytes per second of a large copy, read and written ones together: the best of several."""
    size = 2**24 if pair.quick else 2**31
    source = torch.zeros(size, dtype=torch.uint8, device=pair.device)
    target = torch.empty_like(source)
    return max(2 * size / _timed(pair, lambda: target.copy_(source)) for _ in range(REPEATS))


def step_seconds(pair: Pair, side: Side, rows: int, width: int, context: int) -> float:
    """Median seconds of a step of so many rows that feed `width` tokens each after `context`: of
    several that follow a first one, whose launches the device does not wait for."""
    blocks, runner = pair.blocks()[side], pair.runners[side]
    opened = [runner.open() for _ in range(rows)]
    slots = [runner.kv.slot_of[row] for row in opened]
    try:
        room = context + (replays(width) + 1) * width
        runner.kv.grow(len(runner.kv.length), [(slot, room) for slot in slots])
        policy = make("random", p=0.0, q=0.0)
        lines = blocks._lines_for(rows)
        step = blocks._step(lines, width, Asked(policy, 2, False))
        filled = [
            Line([5] * width, True, context, left=10**6, state=(0.0, 0.0),
                 pages=runner.kv.pages.tables[slot])
            for slot in slots
        ]  # fmt: skip
        seconds = []
        for _ in range(REPEATS + 1):
            with torch.inference_mode():
                lines.fill(filled, width)
            step()
            seconds.append(_timed(pair, step, replays(width)))
        lines.rest()
        return statistics.median(seconds[1:])
    finally:
        for row in opened:
            runner.free(row)


def replays(width: int) -> int:
    """Steps that are timed together; each feeds `width` tokens more to its rows."""
    return max(1, min(MOST, MORE // width) - 1)


@torch.inference_mode()
def pass_seconds(pair: Pair, side: Side, rows: int, width: int, context: int) -> float:
    """Median seconds of an ordinary pass, which feeds what no step of fixed shape does."""
    runner = pair.runners[side]
    opened = [runner.open() for _ in range(rows)]
    slots = [runner.kv.slot_of[row] for row in opened]
    try:
        runner.kv.grow(len(runner.kv.length), [(slot, context + width) for slot in slots])
        seconds = []
        for _ in range(REPEATS + 1):
            for slot in slots:
                runner.kv.length[slot] = context  # whatever lies there
            pair.wait()
            started = time.perf_counter()
            runner.extend([Extend(row, [5] * width) for row in opened])
            pair.wait()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[1:])
    finally:
        for row in opened:
            runner.free(row)


def _timed(pair: Pair, run: Any, times: int = 1) -> float:
    """Seconds of one of so many runs, behind what the device has to do already."""
    if pair.device.type != "cuda":
        started = time.perf_counter()
        for _ in range(times):
            run()
        return (time.perf_counter() - started) / times
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / times


class Costs:
    """Bare seconds by side, rows, width and context, measured when first asked for."""

    def __init__(self, pair: Pair, known: dict[str, float]) -> None:
        """`known`: of an earlier run; new ones are added to it."""
        self.pair, self.known = pair, known

    def at(self, side: Side, rows: int, width: int, context: int) -> float:
        """rows and width as a step has them, the next size that there is; what no step feeds, as an
        ordinary pass, the width to the next 16."""
        measure, sizes = step_seconds, [next((s for s in ROWS if s >= rows), 0)]
        sizes.append(next((s for s in WIDTHS if s >= width), 0))
        if not all(sizes) or sizes[0] * sizes[1] > PLACES:
            measure, sizes = pass_seconds, [rows, -(-width // 16) * 16]
        rows, width = sizes
        room = max(MORE, width) + width
        context = max(0, min(context // 512 * 512, self.pair.length - room - 1))
        key = f"{side.label} {rows} x {width} at {context}"
        if key not in self.known:
            self.known[key] = measure(self.pair, side, rows, width, context)
        return self.known[key]

    def curve(self, side: Side, most: int, context: int) -> list[float]:
        """Seconds of a decode step of 0 .. most rows: as steps are padded, the next size's."""
        return [0.0, *(self.at(side, n, 1, context) for n in range(1, most + 1))]


def floors(pair: Pair, costs: Costs, context: int, speed: float) -> dict[str, Any]:
    """Item 1: a decode step of each side beside bytes over bandwidth."""
    found = {}
    for side, runner in pair.runners.items():
        floor = (weight_bytes(runner.model) + runner.token_bytes * context) / speed
        seconds = costs.at(side, 1, 1, context)
        found[side.label] = {
            "seconds": seconds,
            "floor": floor,
            "over_floor": seconds / floor,
            "forward": type(runner.forward).__name__,
        }
    return found


def catch_ups(costs: Costs, context: int, quick: bool) -> dict[str, list[float]]:
    """Seconds of steps that feed 1 .. 64 tokens to one row."""
    widths = (1, 8) if quick else WIDTHS
    return {side.label: [costs.at(side, 1, w, context) for w in widths] for side in Side}


def speculative(costs: Costs, context: int, acceptance: float, most: int = 8) -> dict[str, Any]:
    """Item 5, from bare steps of the same run, without bookkeeping, which is in its favour: k
    drafts, one pass of the LLM over k + 1 tokens, each draft accepted with that probability by
    itself; the best k."""
    alone = costs.at(Side.LLM, 1, 1, context)
    best: dict[str, Any] = {"k": 0, "over_llm": 1.0}
    for k in range(1, most + 1):
        seconds = k * costs.at(Side.SLM, 1, 1, context) + costs.at(Side.LLM, 1, k + 1, context)
        tokens = float(np.sum(acceptance ** np.arange(k + 1)))
        if tokens * alone / seconds > best["over_llm"]:
            best = {"k": k, "over_llm": tokens * alone / seconds}
    return {"acceptance": acceptance, **best}
