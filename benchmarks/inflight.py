"""Many requests in flight on the built-in pair: does stitching still pay?

    python -m benchmarks.inflight [--quick] [--save]

A closed loop: N answers are always being written, a new one starts when one ends. Answers per
second of the stitched pair over those of the LLM alone at the same N, with the waiting table and
with the naive rule (run the LLM as soon as one row wants it), interleaved. The ceiling beside the
table is the best threshold's throughput, computed from the step costs and hand-off rates of the
same run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import rstitch
from benchmarks.bare import passes_through
from benchmarks.common import finish, parsed, parser, progress, rotated, say, show_bars
from rstitch.api import Stitch
from rstitch.costs import best_threshold, throughput
from rstitch.engine.decode_loop import PREFILL
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.pairs.recipe.problem import Problem
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make
from rstitch.types import Failed, Finished, Side, Token

MAX_TOKENS = 400
GOAL = 2.5


@dataclass(slots=True)
class Pass:
    """One forward pass of the measured part."""

    side: Side
    rows: int
    tokens: int
    seconds: float


@dataclass(slots=True)
class Run:
    """What one method did at one N, summed over its rounds."""

    seconds: float = 0.0
    answers: int = 0
    kept: int = 0
    latencies: list[float] = field(default_factory=list)
    longest_gap: float = 0.0
    passes: list[Pass] = field(default_factory=list)
    asked: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    left: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class Loop:
    """N answers in flight on one engine; counts from the moment when N have ended."""

    def __init__(self, stitch: Stitch, policy: Policy, asked: Iterator[Problem], n: int) -> None:
        self.stitch, self.policy, self.asked, self.n = stitch, policy, asked, n
        self.engine: InProcessEngine = stitch.engine
        self.started: dict[str, float] = {}
        self.last_kept: dict[str, float] = {}
        self.ended = 0

    def submit(self) -> None:
        prompts = self.stitch.prompts(next(self.asked).question, policy=self.policy)
        name = self.engine.submit(Request(prompts, self.policy, max_tokens=MAX_TOKENS))
        self.started[name] = self.last_kept[name] = time.perf_counter()

    def run(self, answers: int, run: Run) -> None:
        for _ in range(self.n):
            self.submit()
        began = None
        with watched(self.engine) as fed:
            while self.ended < self.n + answers:
                if began is None and self.ended >= self.n:
                    began = time.perf_counter()
                fed.clear()
                started = time.perf_counter()
                events = self.engine.step()
                now = time.perf_counter()
                if began is not None:
                    run.passes += [Pass(*item, now - started) for item in fed]
                for event in events:
                    self.take(event, now, run if began is not None else None)
        assert began is not None
        run.seconds += time.perf_counter() - began
        self.drain()

    def take(self, event: Any, now: float, run: Run | None) -> None:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Finished):
            self.ended += 1
            if run:
                run.answers += 1
                run.latencies.append(now - self.started[event.request])
            self.submit()
        elif run and isinstance(event, Token):
            proposal = event.proposal
            run.asked[proposal.side] += 1
            run.left[proposal.side] += proposal.next_side != proposal.side
            run.kept += proposal.keep
            if proposal.keep:
                gap = now - self.last_kept[event.request]
                run.longest_gap = max(run.longest_gap, gap)
        if isinstance(event, Token) and event.proposal.keep:
            self.last_kept[event.request] = now

    def drain(self) -> None:
        for name in self.started:
            self.engine.cancel(name)
        while not self.engine.idle:
            self.engine.step()


@contextmanager
def watched(engine: InProcessEngine) -> Iterator[list[tuple[Side, int, int]]]:
    """Sizes of the forward passes of an engine while it is entered: (side, rows, tokens)."""
    seen: list[tuple[Side, int, int]] = []

    def wrap(side: Side, run: Callable[..., Any]) -> Callable[..., Any]:
        def extend(batch: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append((side, len(batch), sum(len(item.tokens) for item in batch)))
            return run(batch, *args, **kwargs)

        return extend

    with passes_through(engine.runners, wrap):
        yield seen


def optimum(run: Run, n: int) -> dict[str, float]:
    """Kept tokens per second of decoding, ours and the best that a threshold could reach.

    From this run's own step costs (their mean by number of rows) and hand-off rates; prefills,
    which no rule can save, are left out on both sides.
    """
    steps = [p for p in run.passes if p.tokens <= PREFILL * p.rows]
    prefill = sum(p.seconds for p in run.passes if p.tokens > PREFILL * p.rows)
    means = {side: mean_costs([p for p in steps if p.side is side], n) for side in Side}
    p, q = (run.left[side] / max(run.asked[side], 1) for side in Side)

    def cost(side: Side, rows: int) -> float:
        return means[side][rows]

    threshold = best_threshold(n, p, q, cost)
    best = throughput(n, threshold, p, q, cost)
    ours = run.kept / (run.seconds - prefill)
    return {"tokens_per_second": ours, "optimum": best, "reached": ours / best, "best": threshold}


def mean_costs(steps: Sequence[Pass], n: int) -> list[float]:
    """Mean seconds of a step of 0..n rows; between the numbers of rows that were seen, on the line
    through the nearest two, beyond them as the nearest."""
    seen: dict[int, list[float]] = {}
    for step in steps:
        seen.setdefault(step.rows, []).append(step.seconds)
    if not seen:  # a side that no answer needed
        return [0.0] * (n + 1)
    rows = sorted(seen)
    means = [float(np.mean(seen[count])) for count in rows]
    return [float(seconds) for seconds in np.interp(range(n + 1), rows, means)]


def measure(
    pairs: dict[str, Stitch], policies: dict[str, Policy], n: int, answers: int, rounds: int
) -> dict[str, Run]:
    """Every method at one N, interleaved; the same problems in the same order."""
    chosen = spread(problems("test"), 2 * n + answers)
    runs = {name: Run() for name in pairs}
    for round_ in range(rounds):
        for name in rotated(pairs, round_):
            Loop(pairs[name], policies[name], itertools.cycle(chosen), n).run(answers, runs[name])
    return runs


def line(n: int, runs: dict[str, Run]) -> dict[str, Any]:
    llm, table, naive = runs["llm"], runs["table"], runs["naive"]
    return {
        "n": n,
        "llm_answers_per_second": llm.rate,
        "over_llm": table.rate / llm.rate,
        "naive_over_llm": naive.rate / llm.rate,
        "over_naive": table.rate / naive.rate,
        **optimum(table, n),
        "p95": float(np.quantile(table.latencies, 0.95)),
        "llm_p95": float(np.quantile(llm.latencies, 0.95)),
        "longest_gap": table.longest_gap,
        "llm_longest_gap": llm.longest_gap,
    }


def show(row: dict[str, Any]) -> None:
    say(
        f"{row['n']:3d}{row['llm_answers_per_second']:9.1f}/s{row['over_llm']:8.2f}x"
        f"{row['naive_over_llm']:8.2f}x{row['over_naive']:8.2f}x{row['reached']:9.0%}"
        f"{1e3 * row['p95']:10.0f}{1e3 * row['llm_p95']:10.0f}"
        f"{1e3 * row['longest_gap']:9.0f}{1e3 * row['llm_longest_gap']:9.0f}"
    )


def main() -> None:
    args = parsed(parser(__doc__, "two sizes, few answers"))
    sizes, rounds = ((4, 16), 1) if args.quick else ((1, 2, 4, 8, 16, 32), 3)
    pairs = {
        "llm": rstitch.load(max_rows=max(sizes)),
        "table": rstitch.load(max_rows=max(sizes), waiting="table"),
        "naive": rstitch.load(max_rows=max(sizes), waiting="eager"),
    }
    tau = pairs["table"].tau
    stitched = make("entropy", tau=tau)
    policies = {"llm": make("llm"), "table": stitched, "naive": stitched}
    say(f"built-in pair, tau {tau}, threads chosen per pass; ms for p95 latency and longest gap")
    say("  N  LLM alone   table   naive  t/naive  optimum   p95 ms  LLM's p95  gap ms  LLM's")
    rows = []
    for n in sizes:
        answers = max(12, n) if args.quick else max(32, 3 * n)
        rows.append(line(n, measure(pairs, policies, n, answers, rounds)))
        show(rows[-1])
        progress(f"{n} in flight: done")
    at = next(row for row in rows if row["n"] == 16)
    bars = {
        "over_llm_2.5x_at_16": at["over_llm"] >= GOAL,
        "over_naive_1.5x_at_16": at["over_naive"] >= 1.5,
        "within_15_percent_of_optimum": at["reached"] >= 0.85,
        "p95_no_worse": at["p95"] <= at["llm_p95"],
    }
    show_bars(bars)
    details = {"tau": tau, "sizes": rows, "bars": bars}
    finish("inflight", at["over_llm"], GOAL, details, args.save)


if __name__ == "__main__":
    main()
