"""What stitching is compared with that asks for tokens on trial: `rstitch.baselines` as methods.

They run beside the engine's scheduler, one answer at a time, so their latency is the same thing as
that of the others, but with many in flight their rate would still be that of one: none is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self
from weakref import WeakKeyDictionary

import torch

from rstitch.baselines import Baseline
from rstitch.baselines import Written as Answered
from rstitch.baselines.ask import answer
from rstitch.baselines.outside import Outside, Setting
from rstitch.evals.methods.base import Method, Pilot, Question, Writing, Written
from rstitch.policy import make
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

COUNTED = (
    "drafted", "accepted", "rejected", "deferred",
    "trials", "trial_tokens", "trial_seconds", "exited",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rival(Method):
    """A baseline, under the baseline's own name."""

    name: ClassVar[str] = "baseline"
    asks: ClassVar[bool] = False
    batches: ClassVar[bool] = False

    baseline: Baseline

    def check(self, stitch: Stitch) -> None:
        self.baseline.fitted(stitch).check(stitch.in_process)

    def fit(self, pilot: Pilot) -> Self:
        return replace(self, baseline=self.baseline.fitted(pilot.stitch))

    def write(self, stitch: Stitch, question: Question) -> Writing:
        found = answer(
            stitch,
            self.baseline,
            question.text,
            sampling=question.sampling,
            max_tokens=question.max_tokens,
        )
        return reply(stitch, question, found)
        yield  # it asks for nothing

    def spec(self) -> dict[str, Any]:
        return self.baseline.spec()


class _Outside(Method):
    """transformers' own generation on the same weights, loaded once more."""

    asks: ClassVar[bool] = False
    batches: ClassVar[bool] = False

    def write(self, stitch: Stitch, question: Question) -> Writing:
        ids = stitch.prompts(question.text, policy=make("llm"))[Side.LLM]
        before = torch.get_num_threads()
        threads = stitch.engine.config.threads or before
        try:
            found = self.answered(outside(stitch), ids, question, Setting(threads=threads))
        finally:
            torch.set_num_threads(before)
        return reply(stitch, question, found)
        yield

    def answered(
        self, rival: Outside, ids: tuple[int, ...], question: Question, setting: Setting
    ) -> Answered:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Generate(_Outside):
    """`generate`, the LLM alone."""

    name: ClassVar[str] = "transformers-generate"

    def answered(
        self, rival: Outside, ids: tuple[int, ...], question: Question, setting: Setting
    ) -> Answered:
        return rival.generate(ids, question.max_tokens, setting, question.sampling)


@dataclass(frozen=True, slots=True)
class Assisted(_Outside):
    """`generate` with the SLM as the assistant."""

    name: ClassVar[str] = "transformers-assisted"

    k: int = 0
    """Drafted tokens a round; 0 leaves it to transformers."""

    def answered(
        self, rival: Outside, ids: tuple[int, ...], question: Question, setting: Setting
    ) -> Answered:
        return rival.assisted(
            ids, question.max_tokens, setting, question.sampling, k=self.k or None
        )


_OUTSIDE: WeakKeyDictionary[Stitch, Outside] = WeakKeyDictionary()


def outside(stitch: Stitch) -> Outside:
    """Its models stay loaded between questions, as long as the pair is there."""
    if stitch not in _OUTSIDE:
        _OUTSIDE[stitch] = Outside(stitch)
    return _OUTSIDE[stitch]


def reply(stitch: Stitch, question: Question, found: Answered) -> Written:
    """At once what was answered; prompts, counts and passes when nobody is timed."""
    later = partial(_recorded, stitch, question, found)
    return Written(found.text, False, found.reason, later=later)


def _recorded(stitch: Stitch, question: Question, found: Answered) -> Written:
    prompts = stitch.prompts(question.text, policy=make("llm"))
    inside = stitch.starts_thinking(prompts)
    counts = {name: value for name in COUNTED if (value := getattr(found, name))}
    sides = [side.label for side in found.sides]
    extra = {
        "slm_tokens": sides.count("slm"),
        "llm_tokens": sides.count("llm"),
        "lost_tokens": found.drafted - found.accepted + found.trial_tokens,
        "discards": found.rejected,
        **({"threads": found.method["threads"]} if "threads" in found.method else {}),
        **counts,
        "trace": _trace(found),
    }
    return Written(found.text, inside, found.reason, extra=extra)


def _trace(found: Answered) -> Mapping[str, Any]:
    """Tokens, passes and seconds, enough to count and price everything again."""
    return {
        "method": dict(found.method),
        "sampling": found.sampling.as_dict(),
        "tokens": list(found.tokens),
        "sides": "".join(str(int(side)) for side in found.sides),
        "forwards": [list(asdict(forward).values()) for forward in found.forwards],
        "seconds": found.seconds,
    }
