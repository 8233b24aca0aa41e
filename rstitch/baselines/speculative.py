"""Speculative decoding: the SLM drafts a few tokens, one pass of the LLM judges all of them.

Leviathan et al. (arXiv 2211.17192), Chen et al. (arXiv 2302.01318). Lossless: greedy, the answer is
the LLM's; sampled, it has the LLM's law. One round:

    1. the SLM drafts x_1 .. x_k from q_1 .. q_k, one pass each
    2. one pass of the LLM over what it has not seen and the draft gives p_1 .. p_{k+1}
    3. x_1 .. x_n are accepted (`accept`), the LLM's own token follows: from p_{k+1} if n = k, else
       in the place of the rejected one
    4. both sides forget what they cached after x_n

Departures:
    1. Noise is a function of (seed, position), so whether a position is drafted may depend on
       positions before it alone, never on tokens drafted beyond it that were thrown away. Else the
       law would be bent; `adapt` and where drafts end keep to that.
    2. No token is drafted for the last position that is left, where the LLM's own is as good.
    3. Sides with different special tokens: the SLM's distribution is taken over the tokens that
       both have, under the LLM's ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from rstitch.baselines import accept
from rstitch.baselines.base import Baseline, need_whole
from rstitch.baselines.law import REPLACEMENT
from rstitch.baselines.work import LLM, SLM, Kept, Work


@dataclass(slots=True)
class Draft:
    """Tokens on trial."""

    tokens: list[int] = field(default_factory=list)
    """Ids of the LLM."""
    own: list[int] = field(default_factory=list)
    """The same as ids of the SLM."""
    logs: list[Tensor] = field(default_factory=list)
    """What each was drawn from: (V,), unnormalised; kept where tokens are sampled."""


@dataclass(frozen=True, slots=True)
class Speculative(Baseline):
    """Lossless."""

    name: ClassVar[str] = "speculative"

    k: int = 5
    """Tokens drafted in a round."""
    adapt: bool = False
    """Draft two more after a round in which all were accepted, else one less, at least one: the
    "heuristic" schedule of transformers."""

    def __post_init__(self) -> None:
        need_whole("k", self.k, 1)

    def write(self, work: Work) -> Iterator[Kept]:
        size = self.k
        while not work.ended:
            draft = self._draft(work, size)
            count, own = self._judge(work, draft)
            if self.adapt and draft.tokens:
                size = size + 2 if count == len(draft.tokens) else max(1, size - 1)
            for token in draft.tokens[:count]:
                yield work.keep(token, SLM)
                if work.ended:
                    return
            work.cut()
            yield work.keep(own)

    def _draft(self, work: Work, size: int) -> Draft:
        draft, law = Draft(), work.law
        room = work.engine.rows.limits[SLM] - work.one.length(SLM) + 1  # its last is not fed to it
        for _ in range(min(size, work.left - 1, room)):
            logits = work.read(SLM, draft.own)
            if self.stops(logits[:, : work.engine.runners[SLM].vocab_size]):
                break
            logs = law.logs(work.as_llm(logits))[0]
            token = law.draw(logs, len(work.tokens) + len(draft.tokens))
            draft.tokens.append(token)
            draft.own.append(work.own(SLM, token))
            if not law.greedy:
                draft.logs.append(logs)
            if work.ends(token):
                break
        return draft

    def _judge(self, work: Work, draft: Draft) -> tuple[int, int]:
        """How many are accepted, and the LLM's own token after them."""
        law, tokens, start = work.law, draft.tokens, len(work.tokens)
        logits = work.read(LLM, tokens, len(tokens) + 1)[:, : law.vocab_size]
        logs = law.logs(logits)
        p = q = logs[:-1]
        if law.greedy:
            fine = [x == best for x, best in zip(tokens, logs.argmax(-1).tolist(), strict=False)]
        elif tokens:
            p, q = (torch.softmax(x.double(), -1) for x in (p, torch.stack(draft.logs)))
            fine = accept.by_chance(p, q, tokens, law.coins(start, p))
        else:
            fine = []
        count = accept.leading(self.judged(fine, tokens, logits, logs))
        whole = count == len(tokens)
        work.counts.update(drafted=len(tokens), accepted=count, rejected=int(not whole))
        work.counts["deferred"] += count - sum(fine[:count])
        if law.greedy or whole:
            return count, law.draw(logs[count], start + count)
        instead = accept.replacement(p[count], q[count])
        return count, law.draw(instead, start + count, REPLACEMENT)

    # -- for looser rules -----------------------------------------------------------------------

    def stops(self, logits: Tensor) -> bool:
        """Whether to draft no further, by the SLM's raw logits (1, V)."""
        return False

    def judged(
        self, fine: list[bool], tokens: list[int], logits: Tensor, logs: Tensor
    ) -> list[bool]:
        """What becomes of a draft whose tokens are fine or not. The LLM's raw logits and the logs
        of what it draws from: (k + 1, V)."""
        return fine


def gain(acceptance: float, k: int, cost: float) -> float:
    """Expected speed over the LLM alone (Leviathan et al., Theorem 3.8): each token accepted with
    this probability by itself, and a pass of the SLM taking `cost` passes of the LLM."""
    expected = k + 1 if acceptance == 1 else (1 - acceptance ** (k + 1)) / (1 - acceptance)
    return float(expected / (k * cost + 1))
