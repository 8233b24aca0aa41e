"""Pairs of published shapes with random weights, made on the device, as a GPU runs them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from rstitch.config import EngineConfig
from rstitch.engine.attention import NAME
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.static.blocks import Blocks
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side

FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "tie_word_embeddings")  # fmt: skip
SHAPES: dict[str, tuple[int, int, int, int, int, bool]] = {
    "tiny": (64, 96, 1, 4, 2, True),
    "small": (96, 128, 2, 6, 2, False),
    "0.5B": (896, 4864, 24, 14, 2, True),
    "1.5B": (1536, 8960, 28, 12, 2, True),
    "7B": (3584, 18944, 28, 28, 4, False),
    "14B": (5120, 13824, 48, 40, 8, False),
    "32B": (5120, 27648, 64, 40, 8, False),
}
"""Qwen2.5's published configurations, and two for trying the code."""
TOKENS, FEW = 151_665, 512
COLUMNS = {True: 151_936, False: 152_064}
"""Of the head, as it is the embedding too or not."""
PAGE = 64


@dataclass
class Pair:
    """Both sides, and the engine's parts that are timed bare."""

    slm: str
    llm: str
    device: torch.device
    dtype: torch.dtype
    length: int
    """Tokens that a row may hold."""
    rows: int
    quick: bool
    runners: dict[Side, TorchRunner] = field(default_factory=dict)
    graphs: bool = True

    @property
    def name(self) -> str:
        return f"{self.slm}/{self.llm}"

    @property
    def vocab_size(self) -> int:
        return FEW if self.quick else TOKENS

    def build(self) -> None:
        for side, shape in ((Side.SLM, self.slm), (Side.LLM, self.llm)):
            started = time.perf_counter()
            self.runners[side] = self._runner(shape)
            self.wait()
            say(f"{side.name} {shape}: made in {time.perf_counter() - started:.0f} s")
        self._kv_memory = self._kv_gib()
        self.engine()  # bounds the memory, so that it is never taken for more

    def engine(self, waiting: str = "table", static: bool = True) -> InProcessEngine:
        """On the same runners; its blocks replay graphs where the pair does."""
        for runner in self.runners.values():
            runner.static = static
        config = EngineConfig(
            max_rows=self.rows, waiting=waiting, idle_rows=0, device=self.device.type,
            max_step_tokens=4096, kv_memory=self._kv_memory,
        )  # fmt: skip
        made = InProcessEngine(self.runners, frozenset(), config)
        if static:
            made.loop.blocks = self.blocks()
        return made

    def blocks(self) -> dict[Side, Blocks]:
        """Kept, as graphs are: they take seconds to capture."""
        if not self._blocks:
            self._blocks = {
                side: Blocks(runner, side, frozenset(), self.graphs)
                for side, runner in self.runners.items()
            }
        return self._blocks

    _blocks: dict[Side, Blocks] = field(default_factory=dict)
    _kv_memory: float = 1.0

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _kv_gib(self) -> float:
        """All rows at their longest, or what the device has."""
        token = sum(runner.token_bytes for runner in self.runners.values())
        wanted = 1.1 * token * self.rows * (self.length + PAGE) / 2**30
        if self.device.type != "cuda":
            return wanted
        return min(wanted, 0.8 * torch.cuda.mem_get_info()[0] / 2**30)

    def _runner(self, shape: str) -> TorchRunner:
        model = random_model(shape, self.device, self.dtype, self.length, self.quick)
        kv = PagedKV(self.rows, self.length, PAGE)
        runner = TorchRunner(model, self.vocab_size, self.rows, self.length, kv=kv, static=True)
        runner.fuse()
        return runner


@torch.no_grad()
def random_model(
    shape: str, device: torch.device, dtype: torch.dtype, length: int, quick: bool
) -> Any:
    """Weights of the size that models begin with, so that activations stay finite."""
    config = Qwen2Config(
        vocab_size=FEW if quick else COLUMNS[SHAPES[shape][-1]],
        max_position_embeddings=length,
        **dict(zip(FIELDS, SHAPES[shape], strict=True)),
    )
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME, dtype=dtype)
    rotary = type(model.model.rotary_emb)(config)
    model.to_empty(device=device)
    model.model.rotary_emb = rotary.to(device)
    model.tie_weights()
    generator = torch.Generator(device).manual_seed(len(shape))
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
        else:  # no two rows of the head alike, or greedy choices would be ties
            weight.normal_(0, 0.02, generator=generator)
    return model.eval().requires_grad_(False)


def weight_bytes(model: Any) -> int:
    """What a decode step reads: all weights but the input embedding, unless it is the head too."""
    embedding = model.get_input_embeddings().weight
    tied = embedding.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    total = sum(one.numel() * one.element_size() for one in model.parameters())
    return total - (0 if tied else embedding.numel() * embedding.element_size())


def say(text: str = "") -> None:
    print(text, flush=True)
