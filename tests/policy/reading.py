"""Signals and states for policy tests, and one setting of every policy."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rstitch.policy import Policy
from rstitch.policy.base import Signals
from rstitch.types import Side

SLM, LLM = Side.SLM, Side.LLM
NAMES = (
    "side", "entropy", "max_prob", "coin", "margin", "phase", "boundary", "context", "elapsed",
    "score",
)  # fmt: skip
"""Signals that are one number per row and that a built-in policy may read."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "entropy": {"tau": 0.3},
    "confidence": {"threshold": 0.6},
    "margin": {"bound": 0.4},
    "window": {"tau": 0.3, "window": 4},
    "hysteresis": {"tau_out": 0.5, "tau_back": 0.2, "min_slm": 2, "min_llm": 3},
    "phase": {"tau_think": 0.6, "tau_answer": 0.2},
    "rewind": {"tau": 0.3, "epsilon": 0.05},
    "steered": {
        "tau": 0.3,
        "max_llm_share": 0.4,
        "max_llm_tokens": 9,
        "deadline": 9.0,
        "gain": 0.3,
        "shortest": 3,
        "after": 2,
        "longest": 20,
        "slm_step": 0.1,
        "llm_step": 0.4,
        "llm_token": 0.01,
    },
    "slm": {},
    "llm": {},
    "random": {"p": 0.3, "q": 0.6},
    "turns": {"at": (2, 3, 5), "period": 7},
    "router": {"file": "no such directory", "tau": 0.3, "price": None, "above": 0.5},
}
"""One setting of every policy that has a name."""


def signals(
    side: Side | list[Side],
    entropy: list[float] | float = 0.0,
    max_prob: list[float] | float = 0.5,
    coin: list[float] | float = 0.5,
    **others: list[float] | float,
) -> Signals:
    sides = side if isinstance(side, list) else [side]
    given = {"entropy": entropy, "max_prob": max_prob, "coin": coin, **others}
    columns = {name: c if isinstance(c, list) else [c] for name, c in given.items()}
    rows = max(len(sides), *map(len, columns.values()))
    return Signals(
        torch.tensor(sides).expand(rows).clone(),
        **{
            name: torch.tensor(c, dtype=torch.float32).expand(rows).clone()
            for name, c in columns.items()
        },
    )


def states(policy: Policy, rows: int) -> Tensor:
    return torch.tensor([policy.initial_state()] * rows, dtype=torch.float32).view(rows, -1)


def many_rows(n: int, seed: int = 0) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(len(NAMES) - 1, n, generator=generator)
    side = torch.randint(0, 2, (n,), generator=generator)
    numbers[-1] -= 0.5  # a score has either sign
    return Signals(side, **dict(zip(NAMES[1:], numbers, strict=True)))


def memories(policy: Policy, rows: int) -> Tensor:
    """States as they are after a few random steps, different in every row."""
    state = states(policy, rows)
    for seed in range(1, 8):
        state = policy.decide(many_rows(rows, seed), state).state
    return state


def decide(policy: Policy, given: Signals) -> list[tuple[Side, bool]]:
    """(next side, kept) per row."""
    decision = policy.decide(given, states(policy, len(given.side)))
    return [
        (Side(s), k)
        for s, k in zip(decision.next_side.tolist(), decision.keep.tolist(), strict=True)
    ]


STAY_SLM, LEAVE_SLM = (SLM, True), (LLM, False)
STAY_LLM, LEAVE_LLM = (LLM, True), (SLM, True)
