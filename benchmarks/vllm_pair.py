"""The pair of random weights that vLLM's benchmarks measure, and its prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.random_pair import ROWS, SHAPES, TOKENS
from rstitch.config import EngineConfig
from rstitch.policy import make
from rstitch.types import Side
from rstitch.vllm.engine import VllmEngine
from rstitch.vllm.loader import arguments
from rstitch.vllm.side import Shape, VllmSide

IN_FLIGHT = (1, 4, 16)
SMALL = {**SHAPES["0.5b"], "num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 1024,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
OF = {Side.SLM: SMALL, Side.LLM: SHAPES["0.5b"]}
LEAVE, RETURN = 0.12, 0.4
COINS = make("random", p=LEAVE, q=RETURN)
"""A share of 1 / (1 + q (1 - p) / p): a quarter."""
CONTEXT = 1024
PROMPT, TOKENS_EACH = 32, 96
"""Tokens of a prompt and of an answer."""
Prompts = dict[Side, tuple[int, ...]]


def write(root: Path) -> dict[Side, Path]:
    """Weights are vLLM's own random ones, so only the shapes are written."""
    homes = {side: root / side.label for side in Side}
    for side, home in homes.items():
        home.mkdir()
        config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **OF[side],
                  "vocab_size": ROWS, "max_position_embeddings": CONTEXT, "hidden_act": "silu",
                  "rms_norm_eps": 1e-6, "rope_theta": 1e6, "torch_dtype": "bfloat16"}  # fmt: skip
        (home / "config.json").write_text(json.dumps(config))
    return homes


@contextmanager
def random_pair(homes: dict[Side, Path], **options: Any) -> Iterator[VllmEngine]:
    """options: further arguments of both vLLM engines."""
    settings = EngineConfig(engine="vllm", max_rows=max(IN_FLIGHT), dtype="bfloat16", kv_memory=2.0)
    sides = {}
    for side, home in homes.items():
        shape = Shape(str(home), TOKENS, ROWS, CONTEXT, 4 * 64 * 2 * OF[side]["num_hidden_layers"])
        given = arguments(str(home), None, False, CONTEXT, settings, side)
        sides[side] = VllmSide(shape, {**given, "load_format": "dummy", **options})
    engine = VllmEngine(sides, dict.fromkeys(Side, frozenset()), settings, dict.fromkeys(Side))
    try:
        yield engine
    finally:
        engine.close()


def random_prompts(count: int) -> list[Prompts]:
    return [
        dict.fromkeys(Side, tuple(1000 + 7 * i + j for j in range(PROMPT))) for i in range(count)
    ]
