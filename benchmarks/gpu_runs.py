"""Answers written by the engine on a random-weight pair: alone, stitched, many in flight."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.gpu_pair import Pair
from benchmarks.gpu_steps import Costs
from rstitch.costs import LinearCosts, best_threshold, throughput
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.policy import Policy, make
from rstitch.types import Failed, Finished, Forward, Proposal, Sampling, Side, Token

SHARES: dict[int, tuple[float, float]] = {10: (0.0426, 0.4), 25: (0.12, 0.4), 60: (0.375, 0.4)}
"""LLM share in percent: p and q of the two-state policy. LLM runs are 2.5 tokens, SLM runs 22.5,
7.3 and 1.7."""
HANDOFFS, LONGEST, TRIES = 100, 4, 3
"""Hand-offs that a rate rests on, but no more than so many times the seconds asked for; and how
often a setting is run at most."""


@dataclass
class Run:
    """What an engine did in a window of time."""

    seconds: float = 0.0
    kept: int = 0
    llm: int = 0
    forwards: list[Forward] = field(default_factory=list)
    handoffs: dict[Side, list[tuple[int, int, float]]] = field(
        default_factory=lambda: {side: [] for side in Side}
    )
    """By side that took over, of the step that did: tokens fed, context, wall seconds."""
    tokens: list[tuple[int, ...]] = field(default_factory=list)
    proposed: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    left: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    """Proposals of each side, and those that passed control on."""
    captured: int = 0
    """Steps that were made for the first time meanwhile; what they took is in the seconds."""

    def leaving(self, side: Side, otherwise: float) -> float:
        """Share of its proposals that passed control on."""
        return self.left[side] / self.proposed[side] if self.left[side] else otherwise

    @property
    def rate(self) -> float:
        return self.kept / self.seconds if self.seconds else 0.0


def request(pair: Pair, policy: Policy, number: int, context: int, tokens: int) -> Request:
    """A prompt of that many ids, another for each number; never ended by a token."""
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(3, pair.vocab_size, (context,), generator=generator).tolist()
    return Request(
        dict.fromkeys(Side, tuple(ids)),
        policy,
        sampling=Sampling(seed=number),
        max_tokens=tokens,
        ignore_eos=True,
    )


def alone(engine: InProcessEngine, asked: Request) -> Run:
    """One answer, timed from when both sides that it uses have read the prompt."""
    run, sides = Run(), set(asked.policy.sides())
    engine.submit(asked)
    (sequence,) = _taken_in(engine)
    while not all(_has_read(sequence, side) for side in sides) and not engine.idle:
        engine.step()
    nothing_ahead(engine)
    before, began = len(sequence.forwards), time.perf_counter()
    kept, llm = len(sequence.tokens), sequence.sides.count(Side.LLM)
    while not engine.idle:
        side, seen, started = sequence.side, len(sequence.forwards), time.perf_counter()
        _raise_failures(engine.step())
        seconds = time.perf_counter() - started
        if len(sequence.forwards) == seen:
            continue
        took_over = seen > before and sequence.forwards[seen - 1].side is not side
        if took_over and len(sequence.forwards) == seen + 1:
            last = sequence.forwards[-1]
            run.handoffs[side].append((last.new_tokens, last.context, seconds))
    run.seconds = time.perf_counter() - began
    run.forwards = sequence.forwards[before:]
    run.kept = len(sequence.tokens) - kept
    run.llm = sequence.sides.count(Side.LLM) - llm
    run.tokens = [tuple(sequence.tokens)]
    return run


def ideal(run: Run, costs: Costs) -> float:
    """Seconds of the bare steps that an answer took."""
    return sum(costs.at(f.side, f.rows, f.new_tokens, f.context) for f in run.forwards)


def overheads(run: Run, costs: Costs) -> dict[str, float]:
    """Item 2: median seconds by which the step that takes over exceeds a bare decode step."""
    found = {}
    for side, steps in run.handoffs.items():
        over = [seconds - costs.at(side, 1, 1, context) for _, context, seconds in steps]
        if over:
            found[f"to_{side.label}"] = statistics.median(over)
    return found


def in_flight(
    pair: Pair, engine: InProcessEngine, policy: Policy, n: int, context: int, seconds: float
) -> Run:
    """n answers at once, all of one length; counted from when every one has read its prompt on
    every side it uses, for about that many seconds, or until one ends."""
    tokens = pair.length - context - 1
    ids = [engine.submit(request(pair, policy, i, context, tokens)) for i in range(n)]
    sides, ended = set(policy.sides()), False
    try:
        rows = _taken_in(engine)
        while not all(_has_read(row, side) for row in rows for side in sides) and not ended:
            ended = _ends(engine.step())
        nothing_ahead(engine)
        run, began = Run(), time.perf_counter()
        wanted = 0 if len(sides) == 1 or pair.quick else HANDOFFS
        while not ended and _goes_on(run, n, seconds, wanted):
            for event in (events := engine.step()):
                if isinstance(event, Token):
                    _count(run, event.proposal)
            ended = _ends(events)
            run.seconds = time.perf_counter() - began
        return run
    finally:
        for name in ids:
            engine.cancel(name)
        while not engine.idle:
            engine.step()


def concurrency(
    pair: Pair, costs: Costs, n: int, share: int, context: int, seconds: float, llm_rate: float
) -> dict[str, Any]:
    """Item 4 at one size and share: table and naive rule over the LLM alone, and the optimum."""
    p, q = SHARES[share]
    policy, found = make("random", p=p, q=q), dict[str, Run]()
    for waiting in ("table", "eager"):

        def engine(waiting: str = waiting) -> InProcessEngine:
            made = pair.engine(waiting)
            expect(made, costs, n, context)
            return made

        found[waiting] = warmed(pair, engine, policy, n, context, seconds)
    rates = {waiting: run.rate for waiting, run in found.items()}
    p, q = (found["table"].leaving(s, rate) for s, rate in zip(Side, (p, q), strict=True))
    curves = {side: costs.curve(side, n, context) for side in Side}

    def cost(side: Side, rows: int) -> float:
        return curves[side][rows]

    threshold = best_threshold(n, p, q, cost)
    best = throughput(n, threshold, p, q, cost)
    return {
        "n": n,
        "share": share,
        "over_llm": rates["table"] / llm_rate,
        "naive_over_llm": rates["eager"] / llm_rate,
        "optimum_over_llm": best / llm_rate,
        "of_optimum": rates["table"] / best,
        "threshold": threshold,
        "p": p,
        "q": q,
        "captured": {waiting: run.captured for waiting, run in found.items()},
    }


def warmed(
    pair: Pair, engine: Callable[[], InProcessEngine], policy: Policy, n: int, context: int,
    seconds: float,
) -> Run:  # fmt: skip
    """`in_flight` on a fresh engine, again with the same seeds until nothing is captured in it."""
    for tried in range(TRIES):
        before = _captured(pair)
        run = in_flight(pair, engine(), policy, n, context, seconds)
        run.captured = _captured(pair) - before
        if tried and not run.captured:
            break
    return run


def _captured(pair: Pair) -> int:
    return sum(len(blocks.graphs) for blocks in pair.blocks().values())


def _goes_on(run: Run, n: int, seconds: float, handoffs: int) -> bool:
    """At least so many seconds; then until there were enough hand-offs, or no more time."""
    few = sum(run.left.values()) < handoffs and run.seconds < LONGEST * seconds
    return run.seconds < seconds or run.kept < 4 * n or few


def _count(run: Run, proposal: Proposal) -> None:
    run.kept += proposal.keep
    run.llm += proposal.keep and proposal.side is Side.LLM
    run.proposed[proposal.side] += 1
    run.left[proposal.side] += proposal.next_side is not proposal.side


def expect(engine: InProcessEngine, costs: Costs, n: int, context: int) -> None:
    """Tell the waiting table what steps cost, as measured bare."""
    ends = [(costs.at(s, 1, 1, context), costs.at(s, n, 1, context)) for s in Side]
    slope = [(many - one) / max(n - 1, 1) for one, many in ends]
    base = [one - more for (one, _), more in zip(ends, slope, strict=True)]
    line = LinearCosts((base[0], base[1]), (slope[0], slope[1]))
    engine.scheduler.costs.expect(line, n)
    engine.loop.measures = False


def nothing_ahead(engine: InProcessEngine) -> None:
    """What was launched before a clock starts is not to be counted by it."""
    for blocks in engine.loop.blocks.values():
        blocks._ahead = None
        if blocks.runner.device.type == "cuda":
            torch.cuda.synchronize()


def differing(one: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> float:
    """Share of tokens from the first that differs on, in each answer."""
    same = total = 0
    for a, b in zip(one, other, strict=True):
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
        same, total = same + at, total + len(a)
    return 1 - same / total


def same_tokens(pair: Pair, context: int, tokens: int, count: int) -> dict[str, float]:
    """Item 6 on this pair: graphs, the same functions without graphs, and the ordinary path."""
    policy = make("random", p=0.12, q=0.4)

    def write(engine: InProcessEngine, together: bool) -> list[tuple[int, ...]]:
        asked = [request(pair, policy, i, context, tokens) for i in range(count)]
        groups = [asked] if together else [[one] for one in asked]
        return [answer for group in groups for answer in _written(engine, group)]

    graphs = write(pair.engine(), False)
    together = write(pair.engine(), True)
    ordinary = write(pair.engine(static=False), False)
    with without_graphs(pair):
        called = write(pair.engine(), False)
    return {
        "graphs_and_functions": differing(graphs, called),
        "graphs_and_passes": differing(graphs, ordinary),
        "single_and_batch": differing(graphs, together),
    }


@contextmanager
def without_graphs(pair: Pair) -> Iterator[None]:
    kept, pair._blocks, pair.graphs = pair._blocks, {}, False
    try:
        yield
    finally:
        pair._blocks, pair.graphs = kept, True


def _written(engine: InProcessEngine, asked: list[Request]) -> list[tuple[int, ...]]:
    for one in asked:
        engine.submit(one)
    rows = _taken_in(engine)
    while not engine.idle:
        _raise_failures(engine.step())
    return [tuple(row.tokens) for row in rows]


def _taken_in(engine: InProcessEngine) -> list[Any]:
    rows = [one for one in engine.loop.asked if not isinstance(one, str)]
    assert rows
    return rows


def _has_read(row: Any, side: Side) -> bool:
    return any(f.side is side and f.context >= len(row.request.prompts[side]) for f in row.forwards)


def _ends(events: list[Any]) -> bool:
    _raise_failures(events)
    return any(isinstance(event, Finished) for event in events)


def _raise_failures(events: list[Any]) -> None:
    for event in events:
        if isinstance(event, Failed):
            raise event.error
