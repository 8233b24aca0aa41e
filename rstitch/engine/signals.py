"""The signals that some row's policy asks for, as batched tensors; nothing else is computed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import replace

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.distribution import Distribution
from rstitch.engine.marks import Marks
from rstitch.engine.sequence import Sequence
from rstitch.policy.base import Policy, Signals
from rstitch.types import Side

Clock = Callable[[], float]
"""Seconds, from any beginning."""

Counters = tuple[Tensor, Tensor]
"""Seeds and positions, int64 (rows,): all that randomness depends on."""


def asked(rows: Many[Sequence]) -> set[str]:
    """What the policies of these rows read beside side and entropy."""
    found: set[str] = set()
    for row in rows:
        found.update(row.request.policy.reads)
    return found


def hidden_wanted(rows: Many[Sequence], side: Side) -> bool:
    """Whether some row's policy scores hidden states of that side."""
    return any(
        "score" in row.request.policy.reads and side in row.request.policy.scored for row in rows
    )


WHOLE = frozenset({"margin", "top_probs"})
"""Signals that need all log-probabilities."""


def compute(
    seen: Distribution,
    rows: Many[Sequence],
    side: Side,
    reads: set[str],
    counters: Counters | None,
    hidden: Tensor | None,
    marks: Marks | None,
    clock: Clock,
) -> Signals:
    """What the policies of these rows read; `seen` has log-probabilities where `reads` asks for
    some of WHOLE."""
    device = seen.entropy.device
    plain = Signals(torch.full((len(rows),), int(side), device=device), seen.entropy)
    if not reads:
        return plain
    found: dict[str, Tensor] = {}
    if "max_prob" in reads:
        found["max_prob"] = seen.best.exp()
    if "coin" in reads:
        assert counters is not None
        found["coin"] = sampling.coins(*counters, int(side))
    if reads & WHOLE:
        assert seen.logp is not None
        found |= top(seen.logp, max(row.request.policy.top for row in rows), reads)
    if "phase" in reads:
        found["phase"] = _flags(rows, "phase", marks, Marks.thinking, device)
    if "boundary" in reads:
        found["boundary"] = _flags(rows, "boundary", marks, Marks.begins_step, device)
    if "context" in reads:
        lengths = [row.length(side) for row in rows]
        found["context"] = torch.tensor(lengths, dtype=torch.float32, device=device)
    if "elapsed" in reads:
        now = clock()
        found["elapsed"] = torch.tensor(
            [now - row.accepted for row in rows], dtype=torch.float32, device=device
        )
    signals = replace(plain, **found)
    if "score" not in reads:
        return signals
    if hidden is None:  # none of their policies scores this side
        return replace(signals, score=torch.zeros_like(signals.entropy))
    return replace(signals, score=_scores(hidden, signals, rows, side))


def columns(signals: Signals, reads: set[str]) -> dict[str, Tensor]:
    """Everything that may be recorded, by the names of `Policy.recorded`: tensors (rows,)."""
    found: dict[str, Tensor] = {}
    if not reads:
        return found
    for name in sorted(reads - {"span"}):
        value: Tensor = getattr(signals, name)
        if name == "top_probs":
            found |= {f"top_probs.{i}": column for i, column in enumerate(value.unbind(1))}
        else:
            found[name] = value
    return found


def top(logp: Tensor, wanted: int, names: set[str]) -> dict[str, Tensor]:
    """Of `names`: the likeliest `wanted` probabilities, and the first two's difference."""
    wanted = max(2, wanted)
    probs = logp.topk(min(wanted, logp.shape[-1]), dim=-1).values.exp()
    probs = torch.nn.functional.pad(probs, (0, wanted - probs.shape[1]))
    found = {"margin": probs[:, 0] - probs[:, 1], "top_probs": probs}
    return {name: value for name, value in found.items() if name in names}


def _flags(
    rows: Many[Sequence],
    name: str,
    marks: Marks | None,
    holds: Callable[[Marks, Sequence], bool],
    device: torch.device,
) -> Tensor:
    """float32 (rows,): 1 where it holds, 0 also for rows that do not ask."""
    assert marks is not None
    flags = [name in row.request.policy.reads and holds(marks, row) for row in rows]
    return torch.tensor(flags, dtype=torch.float32, device=device)


def _scores(hidden: Tensor, signals: Signals, rows: Many[Sequence], side: Side) -> Tensor:
    """Each policy's score of its own rows, 0 for the others."""
    members: dict[Policy, list[int]] = {}
    for i, row in enumerate(rows):
        policy = row.request.policy
        if "score" in policy.reads and side in policy.scored:
            members.setdefault(row.request.policy, []).append(i)
    scores = torch.zeros_like(signals.entropy)
    for policy, mine in members.items():
        at = torch.tensor(mine, device=hidden.device)
        reads = [name for name in policy.reads if name != "score"]
        try:
            scores[at] = policy.score(hidden[at], signals.only(reads, policy.top, at)).float()
        except Exception as error:
            for i in mine:
                rows[i].blame("score()", error)
    return scores
