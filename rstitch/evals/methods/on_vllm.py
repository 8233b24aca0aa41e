"""vLLM's own ways to write with the LLM, for pairs on vLLM: alone, with the SLM's drafts, and with
drafts that are accepted loosely.

Each has an engine of its own beside the pair's, which is started when it is first asked. Seeds are
vLLM's, and its passes are not seen: all tokens count as the LLM's.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast
from weakref import WeakKeyDictionary

from rstitch.baselines import Written as Told
from rstitch.baselines.base import need_whole, refuse_shifts
from rstitch.errors import BadRequest
from rstitch.evals.methods.base import Method, Question, Writing
from rstitch.evals.methods.rivals import reply
from rstitch.policy import make
from rstitch.policy.base import need_number
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Stitch
    from rstitch.vllm.alone import Alone, Answered


class _OnVllm(Method):
    """Answers come from `Alone`, with the draft that the subclass describes."""

    asks: ClassVar[bool] = False

    def draft(self, stitch: Stitch) -> dict[str, Any] | None:
        """vLLM's `speculative_config`."""
        return None

    def check(self, stitch: Stitch) -> None:
        if stitch.engine.config.engine != "vllm":
            raise BadRequest(f"{self.name} is compared with a pair on vLLM: add --engine vllm")

    def write(self, stitch: Stitch, question: Question) -> Writing:
        refuse_shifts(self.name, question.sampling)
        ids = stitch.prompts(question.text, policy=make("llm"))[Side.LLM]
        given = question.sampling.seeded()
        ends = stitch.ends[Side.LLM]
        begun = engine_of(stitch, self).begin(ids, question.max_tokens, given, ends)
        (found,) = yield begun
        answered = cast("Answered", found)
        told = Told(
            method=self.spec(),
            tokens=answered.tokens,
            sides=(Side.LLM,) * len(answered.tokens),
            text=str(stitch.tokenizer.decode(list(answered.tokens), skip_special_tokens=True)),
            reason="stop" if answered.reason == "stop" else "length",
            seconds=answered.seconds,
            sampling=given,
        )
        return reply(stitch, question, told)


@dataclass(frozen=True, slots=True)
class Vllm(_OnVllm):
    """`generate`, the LLM alone."""

    name: ClassVar[str] = "vllm"


@dataclass(frozen=True, slots=True)
class Draft(_OnVllm):
    """Speculative decoding (`draft_model`) with the SLM as the draft. Lossless."""

    name: ClassVar[str] = "vllm-draft"

    k: int = 5
    """Drafted tokens a round, vLLM's `num_speculative_tokens`."""

    def __post_init__(self) -> None:
        need_whole("k", self.k, 1)

    def draft(self, stitch: Stitch) -> dict[str, Any]:
        slm, llm = (stitch.models[side].runner for side in Side)
        passed = {name: slm.options.get(name) for name in ("revision", "quantization")}
        alike = stitch.engine.translation is None and slm.shape.columns == llm.shape.columns
        return {
            "method": "draft_model",
            "model": slm.shape.source,
            "num_speculative_tokens": self.k,
            "use_heterogeneous_vocab": not alike,  # else vLLM wants as many rows on both sides
            **{name: value for name, value in passed.items() if value},
        }


@dataclass(frozen=True, slots=True)
class Fly(Draft):
    """The same with loose acceptance (arXiv 2511.22972): a rejected token at which the LLM is
    unsure stays if the next `window` drafted ones are accepted."""

    name: ClassVar[str] = "vllm-fly"

    k: int = 10
    theta: float = 0.3
    """Entropy of the LLM from which on it is unsure, in nats, over its three likeliest tokens."""
    window: int = 6

    def __post_init__(self) -> None:
        Draft.__post_init__(self)
        need_number("theta", self.theta, "0.3")
        need_whole("window", self.window, 1)
        if self.window >= self.k:
            raise BadRequest(
                f"window is {self.window}; it must be below k ({self.k}), the length of a draft"
            )

    def check(self, stitch: Stitch) -> None:
        Draft.check(self, stitch)
        from rstitch.vllm.alone import need_fly

        need_fly()

    def draft(self, stitch: Stitch) -> dict[str, Any]:
        return {
            **Draft.draft(self, stitch),
            "rejection_sample_method": "fly",
            "fly_entropy_threshold": self.theta,
            "fly_window_size": self.window,
        }


_ENGINES: WeakKeyDictionary[Stitch, dict[Method, Alone]] = WeakKeyDictionary()


def engine_of(stitch: Stitch, method: _OnVllm) -> Alone:
    """It runs on between questions, until the pair is let go of or the process ends."""
    from rstitch.vllm.alone import Alone

    engines = _ENGINES.setdefault(stitch, {})
    if method not in engines:
        sides = {side: model.runner for side, model in stitch.models.items()}
        engines[method] = Alone(sides, stitch.engine.config, method.draft(stitch))
        weakref.finalize(stitch, engines[method].close)
    return engines[method]
