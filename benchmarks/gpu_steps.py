"""Bare steps: what the device takes for one step of fixed shape, and the floor beside it."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_pair import Pair, weight_bytes
from rstitch.engine.static.blocks import ROWS, WIDTHS
from rstitch.engine.static.lines import Line
from rstitch.engine.static.step import Asked
from rstitch.policy import make
from rstitch.types import Side

REPEATS = 5


def bandwidth(pair: Pair) -> float:
    """Bytes per second of a large copy, read and written ones together: the best of several."""
    size = 2**24 if pair.quick else 2**31
    source = torch.zeros(size, dtype=torch.uint8, device=pair.device)
    target = torch.empty_like(source)
    return max(2 * size / _timed(pair, lambda: target.copy_(source)) for _ in range(REPEATS))


def step_seconds(pair: Pair, side: Side, rows: int, width: int, context: int) -> float:
    """Median seconds of a step of so many rows that feed `width` tokens each after `context`."""
    blocks, runner = pair.blocks()[side], pair.runners[side]
    opened = [runner.open() for _ in range(rows)]
    slots = [runner.kv.slot_of[row] for row in opened]
    try:
        runner.kv.grow(len(runner.kv.length), [(slot, context + width) for slot in slots])
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
            seconds.append(_timed(pair, step))
        lines.rest()
        return statistics.median(seconds[1:])
    finally:
        for row in opened:
            runner.free(row)


def _timed(pair: Pair, run: Any) -> float:
    pair.wait()
    if pair.device.type != "cuda":
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


class Costs:
    """Bare seconds by side, rows, width and context, measured when first asked for."""

    def __init__(self, pair: Pair, known: dict[str, float]) -> None:
        """`known`: of an earlier run; new ones are added to it."""
        self.pair, self.known = pair, known

    def at(self, side: Side, rows: int, width: int, context: int) -> float:
        """rows and width as a step has them: the next size that there is."""
        rows, width = (
            next(s for s in sizes if s >= n) for sizes, n in ((ROWS, rows), (WIDTHS, width))
        )
        grid = max(context // 512, 0) * 512
        context = min(grid, self.pair.length - width - 1)
        key = f"{side.label} {rows} x {width} at {context}"
        if key not in self.known:
            self.known[key] = step_seconds(self.pair, side, rows, width, context)
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
        found[side.label] = {"seconds": seconds, "floor": floor, "over_floor": seconds / floor}
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
