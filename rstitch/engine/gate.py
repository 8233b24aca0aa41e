"""From one forward pass's logits to decisions: signals, draw, policy, as batched tensor operations.

From a device the host reads one small matrix per step, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.sequence import Sequence
from rstitch.policy.base import Decision, Policy, Signals
from rstitch.types import Proposal, Side

READABLE = ("max_prob", "coin")


@torch.inference_mode()
def read(logits: Tensor, rows: Many[Sequence], side: Side, vocab_size: int) -> list[Proposal]:
    """One proposal per row of raw logits (rows, columns); updates each row's policy state.

    What no row asks for (draws, coins) is not computed: on small models each tensor operation
    here shows in the time per token.
    """
    logp = sampling.log_probs(logits, vocab_size)
    best, likeliest = logp.max(-1)
    reads = {name for row in rows for name in row.request.policy.reads}
    hot = [i for i, row in enumerate(rows) if row.request.sampling.temperature > 0]
    chosen, chosen_logp, coin = likeliest, best, best
    if hot or "coin" in reads:
        seeds, positions = _counters(rows, logits.device)
    if hot:
        chosen = _draw(logp, likeliest, rows, hot, seeds, positions)
        chosen_logp = logp.gather(1, chosen[:, None])[:, 0]
    if "coin" in reads:
        coin = sampling.coins(seeds, positions, int(side))
    signals = Signals(
        side=torch.full_like(likeliest, int(side)),
        entropy=sampling.entropy(logp),
        max_prob=best.exp() if "max_prob" in reads else best,
        coin=coin,
    )
    decision = _decide(signals, rows)
    table = _to_host(
        chosen, chosen_logp, decision.next_side, decision.keep, signals.entropy,
        *(getattr(signals, name) for name in READABLE),
    )  # fmt: skip
    tops = _top_logprobs(logp, rows)
    return [
        _proposal(values, row, side, top)
        for values, row, top in zip(table, rows, tops, strict=True)
    ]


def _to_host(*columns: Tensor) -> Iterable[Many[float]]:
    """Rows of numbers: column by column where reading is free, in one read from a device."""
    if columns[0].device.type == "cpu":
        return zip(*(column.tolist() for column in columns), strict=True)
    return torch.stack([column.double() for column in columns], dim=1).tolist()


def _proposal(
    values: Many[float], row: Sequence, side: Side, top: tuple[tuple[int, float], ...]
) -> Proposal:
    token, logprob, next_side, keep, entropy, *readable = values
    reads = row.request.policy.reads
    named = dict(zip(READABLE, readable, strict=True)) if reads else {}
    return Proposal(
        position=len(row.tokens),
        token=int(token),
        side=side,
        keep=bool(keep),
        next_side=Side(int(next_side)),
        entropy=entropy,
        logprob=logprob,
        signals={name: named[name] for name in reads},
        top_logprobs=top,
    )


def _counters(rows: Many[Sequence], device: torch.device) -> tuple[Tensor, Tensor]:
    """Seeds and positions, int64 (rows,): all that randomness depends on."""
    seeds = torch.tensor([row.seed for row in rows], device=device)
    return seeds, torch.tensor([len(row.tokens) for row in rows], device=device)


def _draw(
    logp: Tensor,
    best: Tensor,
    rows: Many[Sequence],
    hot: list[int],
    seeds: Tensor,
    positions: Tensor,
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
    return best.index_copy(0, at, sampling.draw(logp[at], filters, seeds[at], positions[at]))


def _decide(signals: Signals, rows: Many[Sequence]) -> Decision:
    """Ask each kind of policy in the batch once, about all of its rows."""
    kinds: dict[type[Policy], list[int]] = {}
    for i, row in enumerate(rows):
        kinds.setdefault(type(row.request.policy), []).append(i)
    if len(kinds) == 1:
        (kind,) = kinds
        return _ask(kind, signals, rows)
    next_side, keep = torch.empty_like(signals.side), torch.empty_like(signals.side).bool()
    for kind, members in kinds.items():
        at = torch.tensor(members, device=signals.side.device)
        part = Signals(
            signals.side[at], signals.entropy[at], signals.max_prob[at], signals.coin[at]
        )
        decision = _ask(kind, part, [rows[i] for i in members])
        next_side[at], keep[at] = decision.next_side, decision.keep
    return Decision(next_side, keep, signals.entropy[:, None])


def _ask(kind: type[Policy], signals: Signals, rows: Many[Sequence]) -> Decision:
    """One kind of policy about its own rows; their memories move on."""
    state = rows[0].state if len(rows) == 1 else torch.cat([row.state for row in rows])
    decision = kind.decide(signals, state)
    if decision.state is not state:
        for row, new in zip(rows, decision.state.split(1), strict=True):
            row.state = new
    return decision


def _top_logprobs(logp: Tensor, rows: Many[Sequence]) -> list[tuple[tuple[int, float], ...]]:
    wanted = [row.request.top_logprobs for row in rows]
    if not any(wanted):
        return [()] * len(rows)
    values, ids = logp.topk(min(max(wanted), logp.shape[-1]), dim=-1)
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return [tuple(zip(i[:n], v[:n], strict=True)) for (i, v), n in zip(pairs, wanted, strict=True)]
