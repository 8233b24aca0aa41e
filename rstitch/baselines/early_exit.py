"""Early exit at thought boundaries: the LLM alone, asked after each step whether it knows already.

After DEER (arXiv 2504.15895). Where a step of the thought ends, the thought is closed on trial and
an answer induced. If the model is confident of it, the thought stays closed and the trial answer is
the answer; else it is cut and the thought goes on as if nothing had happened. Confidence is the
geometric mean of the probabilities of the trial's tokens.

Departures:
    1. A boundary is the end of a step (a blank line), not a word such as "Wait".
    2. The trial answer is the answer; DEER has the model write again after it exits.
    3. Probabilities are raw ones (temperature 1, unfiltered) of the tokens written, of which the
       end of text does not count; DEER takes the likeliest token's.
    4. The trial's first pass also brings the thought's next token, so that a rejected trial costs
       its other passes only. If that token closes the thought anyway, there is no trial.
    5. Trials draw from noise of their own: a rejected one says nothing about the thought.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from rstitch.baselines.base import Baseline, need_whole
from rstitch.baselines.law import TRIAL
from rstitch.baselines.work import LLM, Kept, Work
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.marks import Marks
from rstitch.errors import BadRequest
from rstitch.policy.base import need_number
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch


@dataclass(slots=True)
class Trial:
    """A trial answer; `nats` are its tokens' log-probabilities without that of the end of text."""

    tokens: list[int] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """0 for an empty one."""
        return math.exp(sum(self.nats) / len(self.nats)) if self.nats else 0.0


@dataclass(frozen=True, slots=True)
class EarlyExit(Baseline):
    """The LLM alone where `threshold` is 1 or more."""

    name: ClassVar[str] = "early-exit"
    sides: ClassVar[tuple[Side, ...]] = (Side.LLM,)

    threshold: float = 0.95
    """Confidence above which the trial answer is the answer."""
    trial_tokens: int = 20
    """Tokens of a trial at most. One that is accepted before its end goes on as the answer."""
    induce: str | tuple[int, ...] = ""
    """What follows the closed thought before the trial: text, or ids of the LLM. Where it leads up
    to the result, confidence is that of the result alone."""

    def __post_init__(self) -> None:
        need_number("threshold", self.threshold, "0.95")
        need_whole("trial_tokens", self.trial_tokens, 1)

    def check(self, engine: InProcessEngine) -> None:
        if not isinstance(self.induce, tuple) and self.induce:
            raise BadRequest(f"induce is {self.induce!r}; without a tokenizer, give token ids")
        if engine.marks is None or LLM not in engine.marks.think:
            raise BadRequest(
                "early exit closes a thought, but the LLM's tokenizer has no <think> and </think>; "
                "name them in a pair file (think_open, think_close), or choose another method"
            )

    def fitted(self, stitch: Stitch) -> Self:
        if isinstance(self.induce, tuple):
            return self
        ids = stitch.models[LLM].tokenizer.encode(self.induce, add_special_tokens=False)
        return replace(self, induce=tuple(ids))

    def write(self, work: Work) -> Iterator[Kept]:
        marks = work.engine.marks
        assert marks is not None
        close = marks.think[LLM][1]
        lead = [close, *(self.induce if isinstance(self.induce, tuple) else ())]
        while not work.ended:
            if not _is_due(work, marks, lead):
                yield work.keep(_draw(work, work.read(LLM)[-1]))
                continue
            started = work.engine.clock()
            logits = work.read(LLM, lead, len(lead) + 1)
            own = _draw(work, logits[0])
            trial = Trial() if own == close else self._try(work, lead, logits[-1])
            if trial.confidence > self.threshold:
                work.counts.update(trials=1, exited=1)
                yield from _keep_all(work, lead + trial.tokens)
                continue
            work.cut()
            if trial.tokens:
                work.counts.update(trials=1, trial_tokens=len(trial.tokens))
                work.trial_seconds += work.engine.clock() - started
            yield work.keep(own)

    def _try(self, work: Work, lead: list[int], logits: Tensor) -> Trial:
        """Write a trial answer after `lead`, from the logits (columns,) there."""
        trial, most = Trial(), min(self.trial_tokens, work.left - len(lead))
        while True:
            ahead = [*lead, *trial.tokens]
            token = _draw(work, logits, len(ahead), TRIAL)
            trial.tokens.append(token)
            if work.ends(token):
                return trial
            logp = torch.log_softmax(logits[: work.law.vocab_size].float(), -1)
            trial.nats.append(float(logp[token]))
            if len(trial.tokens) == most:
                return trial
            logits = work.read(LLM, [*ahead, token])[-1]


def _is_due(work: Work, marks: Marks, lead: list[int]) -> bool:
    """A step of an open thought has just ended, and a trial still fits."""
    fits = work.left > len(lead) and bool(work.tokens)
    return fits and marks.begins_step(work.one) and marks.thinking(work.one)


def _draw(work: Work, logits: Tensor, ahead: int = 0, stream: int = 0) -> int:
    """The token after so many ahead of the answer, from raw logits (columns,)."""
    return work.law.draw(work.law.logs(logits[None])[0], len(work.tokens) + ahead, stream)


def _keep_all(work: Work, tokens: list[int]) -> Iterator[Kept]:
    for token in tokens:
        yield work.keep(token)
        if work.ended:
            return


def bound(check_share: float) -> float:
    """How many times faster the same answers could come at most if checks were free: the ceiling
    for any cheaper check. `Written.check_share` counts the pass that also brings the thought's next
    token as check, so it is rather too high."""
    return 1 / (1 - check_share)
