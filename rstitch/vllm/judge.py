"""From a worker's logits to what it emits and reports: the in-process gate's arithmetic, as tensor
operations that no host waits for.

The draw is made here, by the noise that the in-process engine draws with, and the one logit that is
left to win carries it through vLLM's own sampler; so the same seed writes the same tokens on both.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from rstitch import sampling, shortlist
from rstitch.engine import distribution
from rstitch.engine import signals as reading
from rstitch.engine.distribution import Distribution
from rstitch.policy.base import Decision, Signals
from rstitch.vllm.asked import Asked
from rstitch.vllm.report import AT_MEMORY, AT_SIGNALS, AT_TOPS, MEMORY, UNBOUNDED, WIDTH, column
from rstitch.vllm.scores import scores
from rstitch.vllm.slots import Asking, Slots

READABLE = ("max_prob", "coin", "margin", "top_probs", "context", "elapsed", "score")
"""Signals that a worker can tell."""
CACHE = 2**18
"""Numbers of logits that a CPU's cache holds with what is made of them."""
WINS = 3e38
"""Above every logit and every number of a report."""


def judge(
    logits: Tensor,
    slots: Slots,
    where: Tensor,
    ends: Tensor,
    on_host: list[int],
    hidden: Tensor | None = None,
) -> Tensor:
    """Decide for rows of raw float32 logits (rows, columns), in place, and remember.

    where: int64 (rows,) the slot of each row; ends: int64 (rows,) the length of its sequence.
    on_host: the slots, known without asking the device. Rows of others are left as they are.
    hidden: (rows, width), what the head made the logits of, if it was heard.
    """
    asked = slots.present(on_host)
    if not asked:
        return logits
    rows = slots.gather(where, ends)
    one = asked[0]
    seen = _distributions(logits, one.vocab_size, _all_asked(asked))
    chosen, chosen_logp = _chosen(seen, rows, asked)
    found = _signals(seen, rows, one.side, asked)
    if any("score" in one.rule.reads for one in asked):
        found = replace(found, score=scores(hidden, found, slots, on_host))
    decision = _decide(found, rows, slots, asked)
    leaves = ~decision.keep | (decision.next_side != found.side)
    emitted = torch.where(leaves, rows.stop, chosen)
    told = _report(seen, chosen, chosen_logp, decision, found, slots, rows, asked)
    slots.remember(where, rows, decision.state)
    if len(asked) == len(on_host):
        return _write(logits, emitted, told, one)
    ours = torch.tensor([slots.asked[slot] is not None for slot in on_host])
    mine = ours.to(logits.device, non_blocking=True)[:, None]
    return torch.where(mine, _write(logits.clone(), emitted, told, one), logits)


def _all_asked(asked: Iterable[Asked]) -> bool:
    """Whether some row asks for more of the distribution than its best and its entropy."""
    return any(
        one.temperature > 0 or one.tops or reading.WHOLE.intersection(one.rule.reads)
        for one in asked
    )


def _distributions(logits: Tensor, vocab_size: int, whole: bool) -> Distribution:
    """Where all log-probabilities are asked for, a CPU gets as many rows at once as its cache
    holds: together 16 rows of 150,000 tokens take half as long again."""
    on_cpu = logits.device.type == "cpu"
    most = max(1, CACHE // vocab_size) if whole and on_cpu else len(logits)
    parts = [distribution.read(part, vocab_size, whole) for part in logits.split(most)]
    if len(parts) == 1:
        return parts[0]
    return Distribution(
        torch.cat([part.likeliest for part in parts]),
        torch.cat([part.best for part in parts]),
        torch.cat([part.entropy for part in parts]),
        torch.cat([part.logp for part in parts if part.logp is not None]),
    )


def _chosen(seen: Distribution, rows: Asking, asked: Iterable[Asked]) -> tuple[Tensor, Tensor]:
    """Token ids (rows,) and their log-probabilities."""
    if seen.logp is None or not any(one.temperature > 0 for one in asked):
        return seen.likeliest, seen.best
    chosen = _draw(seen.logp, seen.likeliest, rows)
    return chosen, seen.logp.gather(1, chosen[:, None])[:, 0]


def _draw(logp: Tensor, likeliest: Tensor, rows: Asking) -> Tensor:
    hot = rows.filters.temperature > 0
    filters = replace(rows.filters, temperature=rows.filters.temperature.where(hot, 1.0))
    drawn = shortlist.draw(logp, filters, rows.seed, rows.position)
    return torch.where(hot, drawn, likeliest)


def _signals(seen: Distribution, rows: Asking, side: int, asked: Iterable[Asked]) -> Signals:
    reads = {name for one in asked for name in one.rule.reads}
    plain = Signals(torch.full_like(rows.position, side), seen.entropy)
    found: dict[str, Tensor] = {}
    if "max_prob" in reads:
        found["max_prob"] = seen.best.exp()
    if "coin" in reads:
        found["coin"] = sampling.coins(rows.seed, rows.position, side)
    if seen.logp is not None and reads & reading.WHOLE:
        found |= reading.top(seen.logp, max(one.rule.top for one in asked), reads)
    if "context" in reads:
        found["context"] = (rows.prompt + rows.position).float()
    if "elapsed" in reads:
        found["elapsed"] = (time.time() - rows.accepted).clamp(min=0.0).float()
    return replace(plain, **found) if found else plain


def _decide(found: Signals, rows: Asking, slots: Slots, asked: Iterable[Asked]) -> Decision:
    """Ask every kind of policy that is there about all rows, and take each row's own answer."""
    there = dict.fromkeys((type(one.rule), len(one.memory)) for one in asked)
    answer: Decision | None = None
    for kind in there:
        rule, width = kind
        given = found
        if rule.top:
            given = replace(found, top_probs=found.top_probs[:, : rule.top])
        decided = rule.decide(given, rows.memory[:, :width])
        state = torch.nn.functional.pad(decided.state, (0, MEMORY - width))
        whole = Decision(decided.next_side, decided.keep, state)
        answer = (
            whole if answer is None else _where(rows.kind == slots.kinds.index(kind), whole, answer)
        )
    assert answer is not None
    return answer


def _where(mine: Tensor, these: Decision, others: Decision) -> Decision:
    return Decision(
        torch.where(mine, these.next_side, others.next_side),
        torch.where(mine, these.keep, others.keep),
        torch.where(mine[:, None], these.state, others.state),
    )


def _report(
    seen: Distribution,
    chosen: Tensor,
    chosen_logp: Tensor,
    decision: Decision,
    found: Signals,
    slots: Slots,
    rows: Asking,
    asked: list[Asked],
) -> Tensor:
    """float32 (rows, WIDTH): the fields of `report`."""
    told = seen.entropy.new_zeros(len(chosen), WIDTH)
    fixed = (found.entropy, chosen, chosen_logp, decision.keep, decision.next_side)
    told[:, : len(fixed)] = torch.stack([column.float() for column in fixed], dim=1)
    told[:, len(fixed)] = rows.known.float().mul_(2).sub_(1).mul_(len(chosen))
    for kind in dict.fromkeys((type(one.rule), len(one.memory)) for one in asked):
        named = reading.columns(found, set(kind[0].reads))
        if named:
            values = torch.stack([named[name] for name in kind[0].recorded()], dim=1)
            mine = (rows.kind == slots.kinds.index(kind))[:, None]
            place = told[:, AT_SIGNALS : AT_SIGNALS + values.shape[1]]
            place.copy_(torch.where(mine, values, place))
    told[:, AT_MEMORY : AT_MEMORY + MEMORY] = decision.state
    tops = max(one.tops for one in asked)
    if seen.logp is not None and tops:
        values, ids = seen.logp.topk(min(tops, seen.logp.shape[-1]), dim=-1)
        pairs = torch.stack([ids.float(), values], dim=2).flatten(1)
        told[:, AT_TOPS : AT_TOPS + pairs.shape[1]] = pairs
    return told


def _write(logits: Tensor, emitted: Tensor, told: Tensor, one: Asked) -> Tensor:
    """Both copies of the report, then the token, which can lie on one of them only."""
    told = told.nan_to_num(0.0, posinf=UNBOUNDED, neginf=-UNBOUNDED)
    numbers, copies = told.flip(1), 2 if one.vocab_size >= one.columns - WIDTH else 1
    for copy in range(copies):
        last = column(one.columns, 0, copy)
        logits[:, last - WIDTH + 1 : last + 1] = numbers
    return logits.scatter_(1, emitted[:, None], WINS)
