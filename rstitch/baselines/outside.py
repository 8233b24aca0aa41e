"""transformers' own generation on the same weights: plain, and with the SLM as its assistant.

Rivals from outside, which share no code with this package. They load the models once more, so they
take as much memory again, and they know neither this package's seeds nor its forward passes.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from rstitch.api import Stitch
from rstitch.baselines.base import Written, refuse_shifts
from rstitch.errors import BadPair, BadRequest
from rstitch.types import Sampling, Side


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to call `generate`."""

    threads: int = 1
    attention: str = "sdpa"
    cache: str = "dynamic"
    compiled: bool = False


class Outside:
    """A pair's models, loaded by transformers alone, each when it is first needed."""

    def __init__(self, stitch: Stitch) -> None:
        self.stitch = weakref.proxy(stitch)
        """Weak: whoever keeps this beside its pair keeps no pair that is done with."""
        self.eos = sorted(stitch.models[Side.LLM].eos_token_ids)
        self.models: dict[tuple[Side, str, bool], Any] = {}

    def _model(self, side: Side, setting: Setting) -> Any:
        key = (side, setting.attention, setting.compiled)
        loaded = self.stitch.models[side]
        source = loaded.source
        if source.endswith(".gguf"):
            raise BadRequest(f"{source} is for llama.cpp; transformers needs the original model")
        if key not in self.models:
            model: Any = AutoModelForCausalLM.from_pretrained(
                source,
                revision=loaded.revision or "main",
                trust_remote_code=loaded.trust_remote_code,
                attn_implementation=setting.attention,
                dtype=getattr(torch, self.stitch.engine.config.dtype),
            )
            # What a model's own file asks for beyond the sampling, such as a repetition penalty,
            # nobody else here obeys.
            model.generation_config = GenerationConfig()
            model = model.to(self.stitch.engine.config.device).eval()
            if setting.compiled:
                # dynamic=None lets dynamo settle on the growing length after its first recompiles
                model.forward = torch.compile(model.forward)
            self.models[key] = model
        return self.models[key]

    def generate(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        setting: Setting = Setting(),
        sampling: Sampling | None = None,
    ) -> Written:
        """The LLM alone; `prompt` as token ids."""
        static = {"cache_implementation": "static", "disable_compile": not setting.compiled}
        extra = static if setting.cache == "static" else {}
        return self._run("generate", prompt, max_tokens, setting, sampling, extra)

    def assisted(
        self,
        prompt: Sequence[int],
        max_tokens: int,
        setting: Setting = Setting(),
        sampling: Sampling | None = None,
        k: int | None = None,
    ) -> Written:
        """With the SLM as assistant: k drafted tokens a round, or as transformers decides.

        Raises BadPair where transformers cannot use this SLM.
        """
        assistant = self._model(Side.SLM, setting)
        assistant.generation_config = self._drafting(assistant, k)
        self._align([self._model(side, setting) for side in Side])
        extra = {"assistant_model": assistant}
        return self._run("assisted", prompt, max_tokens, setting, sampling, extra)

    def _drafting(self, assistant: Any, k: int | None) -> Any:
        """Anew for each answer, since transformers writes what it has learned into it."""
        given = GenerationConfig()
        if k is not None:
            given.num_assistant_tokens = k
            given.num_assistant_tokens_schedule = "constant"
            given.assistant_confidence_threshold = 0.0
        return given

    def _align(self, models: Sequence[Any]) -> None:
        """As many logits on both sides, or transformers refuses: rows of no token are cut."""
        if self.stitch.engine.translation is not None:
            raise BadPair(
                "transformers' assisted generation needs the same tokens on both sides; those of "
                f"{self.stitch.models[Side.SLM].source} are not all the LLM's"
            )
        tokens = self.stitch.models[Side.LLM].runner.vocab_size
        if len({model.config.get_text_config().vocab_size for model in models}) > 1:
            for model in models:
                model.resize_token_embeddings(tokens)

    @torch.inference_mode()
    def _run(
        self,
        name: str,
        prompt: Sequence[int],
        max_tokens: int,
        setting: Setting,
        sampling: Sampling | None,
        extra: dict[str, Any],
    ) -> Written:
        given = (sampling or Sampling()).seeded()
        refuse_shifts(f"transformers-{name}", given)
        torch.set_num_threads(setting.threads)
        model = self._model(Side.LLM, setting)
        ids = torch.tensor([list(prompt)], device=model.device)
        with torch.random.fork_rng():
            assert given.seed is not None
            torch.manual_seed(given.seed)
            started = time.perf_counter()
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                eos_token_id=self.eos,
                pad_token_id=self.eos[0],
                **_drawing(given),
                **extra,
            )
            tokens = out[0, len(prompt) :].tolist()
            seconds = time.perf_counter() - started
        return Written(
            method={"name": f"transformers-{name}", **asdict(setting)},
            tokens=tuple(tokens),
            sides=(Side.LLM,) * len(tokens),
            text=str(self.stitch.tokenizer.decode(tokens, skip_special_tokens=True)),
            reason="stop" if tokens and tokens[-1] in self.eos else "length",
            seconds=seconds,
            sampling=given,
        )


def _drawing(given: Sampling) -> dict[str, Any]:
    """Our settings as arguments of `generate`; each filter is off where it is off here."""
    if given.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": given.temperature,
        "top_k": given.top_k,
        "top_p": given.top_p,
        "min_p": given.min_p or None,
    }
