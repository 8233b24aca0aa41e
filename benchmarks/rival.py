"""transformers' own `generate` on the LLM, at its best setting: the rival of the LLM alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from rstitch.api import Stitch
from rstitch.types import Side


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to call `generate`."""

    threads: int
    attention: str
    cache: str
    compiled: bool = False


EAGER = [
    Setting(threads, attention, cache)
    for threads, attention, cache in itertools.product(
        (1, 2), ("sdpa", "eager"), ("dynamic", "static")
    )
]
COMPILED = [
    Setting(threads, "sdpa", cache, True)
    for threads, cache in itertools.product((1, 2), ("static", "dynamic"))
]


class Rival:
    """The LLM of a pair, loaded by transformers alone."""

    def __init__(self, stitch: Stitch) -> None:
        loaded = stitch.models[Side.LLM]
        self.eos = sorted(loaded.eos_token_ids)
        self.models: dict[tuple[str, bool], Any] = {}
        self.source = loaded.source

    def _model(self, setting: Setting) -> Any:
        key = (setting.attention, setting.compiled)
        if key not in self.models:
            model = AutoModelForCausalLM.from_pretrained(
                self.source, attn_implementation=setting.attention, dtype=torch.float32
            ).eval()
            if setting.compiled:
                # dynamic=None lets dynamo settle on the growing length after its first recompiles
                model.forward = torch.compile(model.forward)
            self.models[key] = model
        return self.models[key]

    @torch.inference_mode()
    def seconds(
        self, prompt: Sequence[int], setting: Setting, max_tokens: int
    ) -> tuple[float, int]:
        """Latency of one greedy answer and its number of tokens."""
        torch.set_num_threads(setting.threads)
        model = self._model(setting)
        ids = torch.tensor([list(prompt)])
        static = {"cache_implementation": "static", "disable_compile": not setting.compiled}
        started = time.perf_counter()
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_tokens,
            eos_token_id=self.eos,
            pad_token_id=self.eos[0],
            **(static if setting.cache == "static" else {}),
        )
        return time.perf_counter() - started, out.shape[1] - ids.shape[1]
