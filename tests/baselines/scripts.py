"""Models that know what was written, and baselines run on them and on the random pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rstitch.baselines import Baseline, Writing, Written
from rstitch.config import EngineConfig
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.marks import Marks
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend, Wanted
from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests.fakes import EOS, PROMPTS, VOCAB, Scripted
from tests.models import Answer, assert_clean, run

SLM, LLM = Side.SLM, Side.LLM
Tell = Callable[[list[int]], Tensor]
"""From the answer's tokens so far to raw logits (VOCAB,)."""


class Knowing(Scripted):
    """A scripted model that looks at the answer's tokens, not at their number alone."""

    def __init__(self, tell: Tell, prompt: int, **limits: Any) -> None:
        super().__init__(lambda position: torch.zeros(VOCAB), prompt, **limits)
        self.tell = tell

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        out = super().extend(batch, logits)
        ids = [self.ids[item.row] for item in batch]
        at = [
            (row, len(row) - back)
            for row, count in zip(ids, self.wanted[-1], strict=True)
            for back in reversed(range(count))
        ]
        told = [self.tell(row[self.prompt : end]) for row, end in at if end >= self.prompt]
        return torch.stack([*out[: len(out) - len(told)], *told])


def odds(**chances: float) -> Tensor:
    """Logits of a distribution over few tokens: odds(t3=0.6, t4=0.4)."""
    out = torch.full((VOCAB,), -math.inf)
    for name, chance in chances.items():
        out[int(name[1:])] = math.log(chance) if chance else -math.inf
    return out


def knowing(slm: Tell, llm: Tell, marks: Marks | None = None, **settings: Any) -> InProcessEngine:
    """An engine on two models that know; `max_length` holds for both sides."""
    limits = {"max_length": settings.pop("max_length", 64)}
    runners = {
        side: Knowing(tell, len(PROMPTS[side]), **limits) for side, tell in ((SLM, slm), (LLM, llm))
    }
    config = EngineConfig(**{"measure_costs": False, "max_rows": 4, **settings})
    return InProcessEngine(runners, frozenset({EOS}), config, marks=marks)


def write(
    engine: InProcessEngine,
    baseline: Baseline,
    prompts: Mapping[Side, tuple[int, ...]] = PROMPTS,
    sampling: Sampling | None = None,
    **settings: Any,
) -> Written:
    """One answer; afterwards nothing may be left, and the passes must add up."""
    settings = {"max_tokens": 20, **settings}
    written = Writing(baseline, engine, prompts, sampling, **settings).result()
    assert_clean(engine)
    assert len(written.tokens) == len(written.sides)
    assert all(f.new_tokens == f.batch_tokens and f.rows == 1 for f in written.forwards)
    return written


def llm_alone(
    engine: InProcessEngine,
    prompts: Mapping[Side, tuple[int, ...]] = PROMPTS,
    sampling: Sampling | None = None,
    **settings: Any,
) -> Answer:
    """What the engine writes when the LLM writes alone."""
    settings = {"max_tokens": 20, **settings}
    request = Request(prompts, make("llm"), sampling or Sampling(), **settings)
    (answer,) = run(engine, [request])
    return answer
