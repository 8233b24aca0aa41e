"""Models of real shapes with random weights: speed without a download, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from rstitch.engine.attention import NAME
from rstitch.engine.torch_runner import TorchRunner

SHAPES: dict[str, dict[str, Any]] = {
    "0.5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "1.5b": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}
"""Qwen2.5's published configurations."""
TOKENS, ROWS = 151_665, 151_936
BLOCK = 1 << 20


def random_runner(shape: str, dtype: torch.dtype, max_rows: int = 1) -> TorchRunner:
    """A runner of that shape. Weights repeat a block of small random numbers: drawing each takes
    half a minute and changes no timing."""
    config = Qwen2Config(vocab_size=ROWS, max_position_embeddings=4096, **SHAPES[shape])
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, attn_implementation=NAME, dtype=dtype)
    rotary = type(model.model.rotary_emb)(config)
    model.to_empty(device="cpu")
    model.model.rotary_emb = rotary
    model.tie_weights()
    block = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(dtype)
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            weight.data.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        flat = weight.data.view(-1)
        for at in range(0, len(flat), BLOCK):
            flat[at : at + BLOCK] = block[: len(flat) - at]
    model.eval().requires_grad_(False)
    return TorchRunner(model, TOKENS, max_rows, config.max_position_embeddings)
