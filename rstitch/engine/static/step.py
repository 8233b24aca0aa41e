"""One step of fixed shape: feed every line's tokens, draw, ask the policy, prepare the next step.

A function of the buffers in `Lines`, without a host read, so that it can be captured. The numbers
are those of `rstitch.engine.gate`, by the same functions of `sampling` and of the policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.forward import Forward
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.static.lines import SIGNALS, STATE, Lines
from rstitch.policy.base import Decision, Policy, Signals
from rstitch.types import Side

READS = frozenset({"coin", "max_prob", "margin", "context", "score"})
"""Signals that need nothing but what is on the device."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is the same for all rows of a block: a step is made for it."""

    policy: Policy
    """Of its kind if `kind` alone counts; where hidden states are scored, this very one."""
    memory: int
    """Numbers that it remembers."""
    hot: bool
    """Some row samples."""


@dataclass(frozen=True, slots=True)
class Model:
    """One side, as steps see it."""

    side: Side
    forward: Forward
    kv: PagedKV
    vocab_size: int
    ends: Tensor
    """int64 (ids,): end-of-text tokens."""


class Step:
    """Call it to run it."""

    def __init__(self, model: Model, lines: Lines, width: int, asked: Asked) -> None:
        """Feeds the first `width` tokens of each line, or as many as it has."""
        self.model, self.lines, self.width, self.asked = model, lines, width, asked
        device = lines.at.device
        self._places = torch.arange(width, device=device)
        self._starts = torch.arange(lines.rows + 1, dtype=torch.int32, device=device) * width
        self._side = torch.full((lines.rows,), int(model.side), device=device)
        self._tiles: dict[int, tuple[Tensor, Tensor]] = {}
        """Made while the step runs for the first time: a capture cannot copy from the host."""
        policy = asked.policy
        self._scores = "score" in policy.reads and model.side in policy.scored

    @torch.inference_mode()
    def __call__(self) -> None:
        logits, hidden = self._pass()
        logp = sampling.log_probs(logits, self.model.vocab_size)
        best, likeliest = logp.max(-1)
        token = self._drawn(logp, likeliest) if self.asked.hot else likeliest
        signals = self._signals(logp, best, hidden)
        policy, memory = self.asked.policy, self.asked.memory
        decision = type(policy).decide(signals, self.lines.state[:, :memory])
        chosen = logp.gather(1, token[:, None])[:, 0] if self.asked.hot else best
        self._advance(token, chosen, signals, decision)

    def _pass(self) -> tuple[Tensor, Tensor | None]:
        """Logits (rows, columns) after each line's last token, and hidden states if asked for."""
        lines, kv = self.lines, self.model.kv
        active = lines.active.bool()
        count = lines.count if self.width > 1 else torch.ones_like(lines.count)
        count = torch.where(active, count, 1)
        place = torch.minimum(self._places, count[:, None] - 1)
        positions = (lines.start[:, None] + place).clamp(max=lines.pages * kv.page - 1)
        page = lines.table.gather(1, positions // kv.page).long()
        real = active[:, None] & (self._places < count[:, None])
        cells = torch.where(real, page * kv.page + positions % kv.page, 0)
        batch = PagedBatch(
            kv,
            positions.flatten(),
            cells.flatten(),
            lines.table,
            self._starts,
            count.int(),
            torch.where(active, lines.start + count, 1).int(),
            [self.width] * lines.rows,
            lines.pages * kv.page,
            self._tiles,
        )
        last = self._starts[:-1] + count - 1
        inputs = lines.fed[:, : self.width].reshape(1, -1), batch.positions[None], batch, last
        if self._scores:
            logits, hidden = self.model.forward.with_hidden(*inputs)
            return logits[0], hidden[0]
        return self.model.forward(*inputs)[0], None

    def _drawn(self, logp: Tensor, likeliest: Tensor) -> Tensor:
        lines = self.lines
        filters = sampling.Filters(lines.temperature, lines.top_k, lines.top_p, lines.min_p)
        drawn = sampling.draw(logp, filters, lines.seed, lines.place)
        return torch.where(lines.temperature > 0, drawn, likeliest)

    def _signals(self, logp: Tensor, best: Tensor, hidden: Tensor | None) -> Signals:
        lines, policy, found = self.lines, self.asked.policy, dict[str, Tensor]()
        entropy = sampling.entropy(logp)
        if "max_prob" in policy.reads:
            found["max_prob"] = best.exp()
        if "coin" in policy.reads:
            found["coin"] = sampling.coins(lines.seed, lines.place, int(self.model.side))
        if "margin" in policy.reads:
            first, second = logp.topk(2, dim=-1).values.exp().unbind(1)
            found["margin"] = first - second
        if "context" in policy.reads:
            count = lines.count if self.width > 1 else 1
            found["context"] = (lines.start + count).float()
        if "score" in policy.reads:
            found["score"] = torch.zeros_like(entropy)
            if hidden is not None:
                found["score"] = policy.score(hidden, Signals(self._side, entropy, **found)).float()
        return Signals(self._side, entropy, **found)

    def _advance(
        self, token: Tensor, logprob: Tensor, signals: Signals, decision: Decision
    ) -> None:
        """Record the step; a line that goes on on this side feeds its token next, others rest."""
        lines, memory = self.lines, self.asked.memory
        active = lines.active.bool()
        ended = (token[:, None] == self.model.ends).any(1) & lines.stops.bool()
        stays = active & decision.keep & (decision.next_side == self._side)
        stays &= ~ended & (lines.left > 1)
        state = torch.where(active[:, None], decision.state, lines.state[:, :memory])
        lines.state[:, :memory] = state
        read = [getattr(signals, name) for name in self.asked.policy.recorded()]
        columns = [active, stays, token, logprob, decision.next_side, decision.keep]
        columns += [signals.entropy, *read, *[torch.zeros_like(logprob)] * (SIGNALS - len(read))]
        table = torch.cat([torch.stack([c.double() for c in columns], 1), lines.state.double()], 1)
        lines.record.index_copy_(0, lines.at, table[None])
        count = lines.count if self.width > 1 else 1
        lines.start.add_(torch.where(active, count, 0))
        lines.fed[:, 0] = torch.where(stays, token, lines.fed[:, 0])
        lines.place.add_(stays)
        lines.left.sub_(stays.long())
        lines.active.copy_(stays)
        lines.at.add_(1)


def serves(policy: Policy) -> bool:
    """Whether the policy's rule can be asked inside a step: one of ours, which read no clock and no
    text, and whose `decide` is known never to wait for the host."""
    return (
        type(policy).__module__.startswith("rstitch.policy.")
        and READS.issuperset(policy.reads)
        and len(policy.initial_state()) <= STATE
        and len(policy.recorded()) <= SIGNALS
    )
