"""One answer in the making by a baseline: what each side has cached, every pass, what is kept.

A baseline differs from a policy in that it asks for tokens that may never become part of the answer
(drafts, trial answers). They are fed `ahead` of the answer, and `cut` forgets them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rstitch.baselines.law import Law
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend, Row
from rstitch.interrupt import held_interrupt
from rstitch.types import FinishReason, Forward, Side

SLM, LLM = Side.SLM, Side.LLM
_PARTNERS: WeakKeyDictionary[InProcessEngine, Tensor] = WeakKeyDictionary()
"""Of each pair, once: 150,000 tokens take a tenth of a second, which is no part of an answer."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One token of the answer."""

    token: int
    """An id of the LLM."""
    side: Side
    """Who wrote it; what the SLM drafted and the LLM accepted is the SLM's."""
    text: str
    """Text that it completed."""


class Work:
    """Owns the rows of KV from the first pass to `close`."""

    def __init__(self, engine: InProcessEngine, request: Request) -> None:
        """`request` is checked, and its sampling has a seed."""
        seed = request.sampling.seed
        assert seed is not None
        engine.forget()
        self.engine, self.request = engine, request
        self.one = engine.sequence(request, "baseline", seed)
        self.law = Law(request.sampling, engine.runners[LLM].vocab_size)
        self.tokens: list[int] = []
        """Ids of the LLM; `one.tokens` has each in the vocabulary of the side that wrote it."""
        self.counts: Counter[str] = Counter()
        self.trial_seconds = 0.0

    # -- the answer -----------------------------------------------------------------------------

    @property
    def finish(self) -> FinishReason | None:
        return self.one.finish

    @property
    def ended(self) -> bool:
        return self.one.finish is not None

    @property
    def left(self) -> int:
        """Tokens that may still be kept: of max_tokens, and of what the LLM's row holds."""
        room = self.engine.rows.limits[LLM] - self.one.length(LLM)
        return min(self.request.max_tokens - len(self.tokens), room)

    def ends(self, token: int) -> bool:
        """Whether the answer ends with that token of the LLM."""
        eos = token in self.engine.eos_token_ids[LLM] and not self.request.ignore_eos
        return eos or token in self.request.stop_token_ids

    def keep(self, token: int, side: Side = LLM) -> Kept:
        """Make a token of the LLM's vocabulary part of the answer."""
        one, text = self.one, ""
        self.tokens.append(token)
        one.tokens.append(self.own(side, token))
        one.sides.append(side)
        ended = self.ends(token)
        if one.text and not ended:
            text = one.text.push(token)
            ended = one.text.stopped is not None
        if ended:
            one.finish = "stop"
        elif self.left < 1:
            one.finish = "length"
        elif one.translation is not None and not one.pinned:
            one.translation.check(LLM, token)
        return Kept(token, side, text)

    # -- passes ---------------------------------------------------------------------------------

    def read(self, side: Side, ahead: Sequence[int] = (), wanted: int = 1) -> Tensor:
        """Raw logits (wanted, columns) after each of the last tokens of prompt, answer and `ahead`.

        `ahead` are ids of that side, and begin with those of the last call if they were not cut.
        Feeds what is not cached, in one pass unless it is a long prompt. The tensor may be the
        runner's memory.
        """
        runner, length = self.engine.runners[side], self.one.length(side)
        with held_interrupt():
            row = self._row(side)
            have = min(runner.cached(row), length + len(ahead) - wanted)
            if have < runner.cached(row):
                runner.truncate(row, have)
            fed = [*self.one.unseen(side, have, length), *ahead[max(0, have - length) :]]
            most = max(self.engine.config.max_step_tokens, wanted)
            while len(fed) > most:
                chunk = min(most, len(fed) - most)
                self._pass(side, row, fed[:chunk], 1)
                fed = fed[chunk:]
            return self._pass(side, row, fed, wanted)

    def cut(self) -> None:
        """Forget what was fed ahead of the answer."""
        for side, row in self.one.rows.items():
            runner = self.engine.runners[side]
            length = self.one.length(side)
            if runner.cached(row) > length:
                runner.truncate(row, length)

    def close(self) -> None:
        """Give the rows back."""
        with held_interrupt():
            while self.one.rows:
                side, row = self.one.rows.popitem()
                self.engine.runners[side].free(row)

    def _row(self, side: Side) -> Row:
        if side not in self.one.rows:
            self.one.rows[side] = self.engine.runners[side].open()
        return self.one.rows[side]

    def _pass(self, side: Side, row: Row, tokens: list[int], wanted: int) -> Tensor:
        runner, clock = self.engine.runners[side], self.engine.clock
        started = clock()
        logits = runner.extend([Extend(row, tokens)], "last" if wanted == 1 else [wanted])
        if logits.is_cuda:  # the pass's own seconds, not those of who reads its logits first
            torch.cuda.synchronize(logits.device)
        count, seconds = len(tokens), clock() - started
        self.one.forwards.append(Forward(side, 1, count, runner.cached(row), count, seconds))
        return logits

    # -- the SLM's tokens as the LLM's ----------------------------------------------------------

    def own(self, side: Side, token: int) -> int:
        """That side's id for a token of the LLM."""
        if self.one.translation is None or side is LLM:
            return token
        found = self.one.translation.read(SLM, token, LLM)
        assert found is not None, f"{token} was drafted though the SLM has no such token"
        return found

    def as_llm(self, logits: Tensor) -> Tensor:
        """The SLM's raw logits in the LLM's columns; tokens that only one side has are impossible,
        so that nothing is drafted which the LLM could not read."""
        if self.one.translation is None:
            return logits[:, : self.law.vocab_size]
        if self.engine not in _PARTNERS:
            _PARTNERS[self.engine] = torch.tensor(list(self._find_partners()), device=logits.device)
        padded = torch.nn.functional.pad(
            logits[:, : self.engine.runners[SLM].vocab_size], (0, 1), value=-torch.inf
        )
        return padded[:, _PARTNERS[self.engine]]

    def _find_partners(self) -> Iterable[int]:
        """For each token of the LLM the SLM's column, or the padded one after the last."""
        translation, size = self.one.translation, self.engine.runners[SLM].vocab_size
        assert translation is not None
        for token in range(self.law.vocab_size):
            mine = translation.read(SLM, token, LLM)
            both = mine is not None and translation.read(LLM, mine, SLM) == token
            yield mine if both and mine is not None and mine < size else size
