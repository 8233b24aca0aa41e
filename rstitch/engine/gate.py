"""From one forward pass's logits to decisions: signals, draw, policy, as batched tensor operations.

From a device the host reads one small matrix per step, at the end.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable
from collections.abc import Sequence as Many
from contextlib import nullcontext

import torch
from torch import Tensor

from rstitch import sampling, shortlist
from rstitch.engine import distribution, penalties, plain, signals
from rstitch.engine.marks import Marks
from rstitch.engine.sequence import Sequence
from rstitch.engine.signals import Clock, Counters
from rstitch.engine.threads import Threads
from rstitch.policy.base import Decision, Policy, Signals
from rstitch.types import Proposal, Side

SIDES = tuple(Side)


def read(
    logits: Tensor,
    rows: Many[Sequence],
    side: Side,
    vocab_size: int,
    hidden: Tensor | None = None,
    marks: Marks | None = None,
    threads: Threads | None = None,
    clock: Clock = time.perf_counter,
) -> list[Proposal]:
    """One proposal per row of raw logits (rows, columns); updates each row's policy state.

    What no row asks for (draws, signals) is not computed: on small models each tensor operation
    here shows in the time per token. hidden: (rows, width), where some policy reads `score`; clock:
    the engine's, by which `elapsed` is told.
    """
    if plain.serves(logits, rows, vocab_size, hidden):
        return plain.read(logits, rows, side, vocab_size, hidden, clock)
    chosen = threads.chosen(logits.numel()) if threads else nullcontext()
    with torch.inference_mode(), chosen:
        return _read(logits, rows, side, vocab_size, hidden, marks, clock)


def _read(
    logits: Tensor,
    rows: Many[Sequence],
    side: Side,
    vocab_size: int,
    hidden: Tensor | None,
    marks: Marks | None,
    clock: Clock,
) -> list[Proposal]:
    reads = signals.asked(rows)
    hot = [i for i, row in enumerate(rows) if row.request.sampling.temperature > 0]
    seen = distribution.read(logits, vocab_size, _all_asked(rows, reads))
    chosen, chosen_logp = seen.likeliest, seen.best
    counters = _counters(rows, logits.device) if hot or "coin" in reads else None
    tops: Many[tuple[tuple[int, float], ...]] = [()] * len(rows)
    if seen.logp is not None:
        chosen = _chosen(seen.logp, chosen, rows, hot, side, counters)
        if chosen is not seen.likeliest:
            chosen_logp = seen.logp.gather(1, chosen[:, None])[:, 0]
        tops = _top_logprobs(seen.logp, rows)
    found = signals.compute(seen, rows, side, reads, counters, hidden, marks, clock)
    decision = _decide(found, rows)
    named = signals.columns(found, reads)
    table = _to_host(
        chosen, chosen_logp, decision.next_side, decision.keep, found.entropy, *named.values()
    )
    return [
        _proposal(values, list(named), row, side, top)
        for values, row, top in zip(table, rows, tops, strict=True)
    ]


def _all_asked(rows: Many[Sequence], reads: set[str]) -> bool:
    """Whether some row asks for more of the distribution than its best and its entropy."""
    asked = [row.request for row in rows]
    return bool(reads & signals.WHOLE) or any(
        one.top_logprobs or not one.sampling.likeliest for one in asked
    )


def _chosen(
    logp: Tensor,
    likeliest: Tensor,
    rows: Many[Sequence],
    hot: list[int],
    side: Side,
    counters: Counters | None,
) -> Tensor:
    """Token ids (rows,): `likeliest` itself where no row samples or is shifted."""
    drawn_from, chosen = penalties.shifted(logp, rows, side), likeliest
    if drawn_from is not logp:
        chosen = drawn_from.argmax(-1)
    return _draw(drawn_from, chosen, rows, hot, counters) if counters and hot else chosen


def _to_host(*columns: Tensor) -> Iterable[Many[float]]:
    """Rows of numbers: column by column where reading is free, in one read from a device."""
    if columns[0].device.type == "cpu":
        return zip(*(column.tolist() for column in columns), strict=True)
    return torch.stack([column.double() for column in columns], dim=1).tolist()


def _proposal(
    values: Many[float],
    names: list[str],
    row: Sequence,
    side: Side,
    top: tuple[tuple[int, float], ...],
) -> Proposal:
    token, logprob, next_side, keep, entropy, *readable = values
    if next_side not in SIDES:
        row.blame("decide()", ValueError(f"next_side is {next_side:g}; it must be 0 or 1"))
        next_side = side
    policy, span = row.request.policy, row.span if side is Side.LLM else None
    named = dict(zip(names, readable, strict=True)) if policy.reads else {}
    return Proposal(
        position=len(row.tokens),
        token=int(token),
        side=side,
        keep=bool(keep),
        next_side=Side(int(next_side)),
        entropy=entropy,
        logprob=logprob,
        signals={name: named[name] for name in policy.recorded()} if named else {},
        top_logprobs=top,
        span=tuple(span.scores) if span else (),
        back=span.back if span else 0,
    )


def _counters(rows: Many[Sequence], device: torch.device) -> Counters:
    seeds = torch.tensor([row.seed for row in rows], device=device)
    return seeds, torch.tensor([len(row.tokens) for row in rows], device=device)


def _draw(
    logp: Tensor, best: Tensor, rows: Many[Sequence], hot: list[int], counters: Counters
) -> Tensor:
    """Token ids (rows,): the likeliest, or a draw for the rows that sample (`hot`)."""
    at = torch.tensor(hot, device=logp.device)
    settings = [rows[i].request.sampling for i in hot]
    vocab_size = logp.shape[-1]
    filters = sampling.Filters(
        temperature=torch.tensor([s.temperature for s in settings], device=logp.device),
        top_k=torch.tensor([s.top_k or vocab_size for s in settings], device=logp.device),
        top_p=torch.tensor([s.top_p for s in settings], device=logp.device),
        min_p=torch.tensor([s.min_p for s in settings], device=logp.device),
    )
    return best.index_copy(0, at, shortlist.draw(logp[at], filters, *(c[at] for c in counters)))


def _decide(found: Signals, rows: Many[Sequence]) -> Decision:
    """Ask each kind of policy in the batch once, about all of its rows."""
    if len(rows) == 1:
        return _ask(type(rows[0].request.policy), found, rows)
    kinds: dict[tuple[type[Policy], int], list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault((type(row.request.policy), len(row.state)), []).append(i)
    if len(kinds) == 1:
        ((kind, _),) = kinds
        return _ask(kind, found, rows)
    next_side, keep = torch.empty_like(found.side), torch.empty_like(found.side).bool()
    for (kind, _), members in kinds.items():
        at = torch.tensor(members, device=found.side.device)
        part = found.only(kind.reads, kind.top, at)
        decision = _ask(kind, part, [rows[i] for i in members])
        next_side[at], keep[at] = decision.next_side, decision.keep
    return Decision(next_side, keep, found.entropy[:, None])


def _ask(kind: type[Policy], signals: Signals, rows: Many[Sequence]) -> Decision:
    """One kind of policy about its own rows; their memories move on. Where it fails, they do."""
    state = torch.tensor([row.state.tolist() for row in rows], dtype=torch.float32)
    state = state.to(signals.entropy.device)
    try:
        decision = kind.decide(signals, state)
        _check(decision, state)
    except Exception as error:
        for row in rows:
            row.blame("decide()", error)
        return Decision(signals.side, torch.ones_like(signals.side).bool(), state)
    if decision.state is not state:
        for row, new in zip(rows, decision.state.tolist(), strict=True):
            row.state = array("f", new)
    return decision


def _check(decision: Decision, state: Tensor) -> None:
    """Raise ValueError for a decision of another shape than there are rows."""
    rows = len(state)
    wanted = {"next_side": (rows,), "keep": (rows,), "state": (rows, state.shape[1])}
    for name, shape in wanted.items():
        found = tuple(getattr(decision, name).shape)
        if found != shape:
            raise ValueError(f"{name} has the shape {found}; it must be {shape}")


def _top_logprobs(logp: Tensor, rows: Many[Sequence]) -> list[tuple[tuple[int, float], ...]]:
    wanted = [row.request.top_logprobs for row in rows]
    if not any(wanted):
        return [()] * len(rows)
    values, ids = logp.topk(min(max(wanted), logp.shape[-1]), dim=-1)
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return [tuple(zip(i[:n], v[:n], strict=True)) for (i, v), n in zip(pairs, wanted, strict=True)]
