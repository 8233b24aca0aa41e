"""TokenRouter's Markov chain for delayed batching (arXiv 2610.12242), by its stationary law.

Two devices, one model each. State: rows that wait and rows in service on each side, and the ticks
that are left of each service. A side that is idle and has enough rows waiting takes all of them.
When a service ends, each of its rows moves on: from the SLM it is discarded with probability p
(then it waits for the LLM, and no token is kept), from the LLM it returns with q (and keeps one).
No code is shared with the simulator, so that it has something to be held to.
"""

from __future__ import annotations

from math import comb

import numpy as np

State = tuple[int, int, int, int, int, int]
"""(waiting, served, ticks left) of the SLM, then of the LLM."""


def chain(
    n: int, b: int, p: float, q: float, ticks: tuple[int, int], tick: float, turns: int = 4000
) -> float:
    """Kept tokens per second with n rows, the LLM launched from b waiting on."""
    start = _launch((n, 0, 0, 0, 0, 0), b, ticks)
    index, edges, todo = {start: 0}, [], [start]
    gains, holds = [], []
    while todo:
        state = todo.pop()
        hold, outcomes = _ends(state, p, q)
        gains.append((index[state], sum(chance * kept for chance, kept, _ in outcomes)))
        holds.append((index[state], hold))
        for chance, _, after in outcomes:
            launched = _launch(after, b, ticks)
            if launched not in index:
                index[launched] = len(index)
                todo.append(launched)
            edges.append((index[state], index[launched], chance))
    size = len(index)
    gain, held = np.zeros(size), np.zeros(size)
    for at, value in gains:
        gain[at] = value
    for at, value in holds:
        held[at] = value
    source, target, chances = (np.array(column) for column in zip(*edges, strict=True))
    law = np.full(size, 1 / size)
    for _ in range(turns):  # half a step at a time, so that no period keeps it from settling
        law = 0.5 * law + 0.5 * np.bincount(target, law[source] * chances, size)
    return float(law @ gain / (law @ held * tick))


def _launch(state: State, b: int, ticks: tuple[int, int]) -> State:
    k0, s0, r0, k1, s1, r1 = state
    if not s0 and k0 >= 1:
        k0, s0, r0 = 0, k0, ticks[0]
    if not s1 and k1 >= b:
        k1, s1, r1 = 0, k1, ticks[1]
    return k0, s0, r0, k1, s1, r1


def _ends(state: State, p: float, q: float) -> tuple[int, list[tuple[float, int, State]]]:
    """Ticks until the next service ends, and what may come of it: (chance, kept tokens, state)."""
    k0, s0, r0, k1, s1, r1 = state
    hold = min(r for s, r in ((s0, r0), (s1, r1)) if s)
    ends0, ends1 = bool(s0) and r0 == hold, bool(s1) and r1 == hold
    found = []
    for left, c0 in _binomial(s0, p) if ends0 else [(0, 1.0)]:
        for back, c1 in _binomial(s1, q) if ends1 else [(0, 1.0)]:
            kept = (s0 - left if ends0 else 0) + (s1 if ends1 else 0)
            a0 = k0 + (s0 - left if ends0 else 0) + back
            a1 = k1 + left + (s1 - back if ends1 else 0)
            after = (
                a0, 0 if ends0 else s0, 0 if ends0 else (r0 - hold if s0 else 0),
                a1, 0 if ends1 else s1, 0 if ends1 else (r1 - hold if s1 else 0),
            )  # fmt: skip
            found.append((c0 * c1, kept, after))
    return hold, found


def _binomial(n: int, p: float) -> list[tuple[int, float]]:
    chances = [(k, comb(n, k) * p**k * (1 - p) ** (n - k)) for k in range(n + 1)]
    return [(k, chance) for k, chance in chances if chance]
