"""A tiny random model of every family that is supported, as directories that `load_model` reads.

Each has what makes its family special, and small enough to show: windows of a few tokens, rope
scaled from 16 tokens on, soft-caps and sinks that bite. Nothing is downloaded.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.pair import tokenizer

CONTEXT = 128
WINDOW = 6
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
MIXED: dict[str, Any] = {
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": WINDOW,
}
SHARED: dict[str, Any] = {  # the last two layers attend to keys of earlier ones
    "num_hidden_layers": 4,
    "layer_types": MIXED["layer_types"] * 2,
    "sliding_window": WINDOW,
    "num_kv_shared_layers": 2,
    "vocab_size_per_layer_input": 321,
    "hidden_size_per_layer_input": 8,
}
ALTERNATING = {"laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4}
SCALED = {"rope_theta": 10_000.0, "original_max_position_embeddings": 16}
FACTORS = {"short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 3.0, 4.0, 6.0]}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 6, "head_dim": 4}
LATENT |= {"qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "num_key_value_heads": 4}
ROUTED = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, **SCALED, **more}}


FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {}),
    "qwen2, sliding": ("Qwen2Config", {"use_sliding_window": True, **MIXED}),
    "qwen3": ("Qwen3Config", {}),
    "llama": ("LlamaConfig", {}),
    "llama, linear rope": (
        "LlamaConfig",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
    ),
    "llama, llama3 rope": (
        "LlamaConfig",
        rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0),
    ),
    "llama, yarn rope": ("LlamaConfig", rope("yarn", factor=8.0)),
    "gemma2": (
        "Gemma2Config",
        {"attn_logit_softcapping": 1.5, "query_pre_attn_scalar": 5, **MIXED},
    ),
    "gemma3": ("Gemma3TextConfig", {"query_pre_attn_scalar": 5, **MIXED}),
    "gemma3n": ("Gemma3nTextConfig", {**SHARED, **ALTERNATING}),
    "gemma4": ("Gemma4TextConfig", SHARED),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW}),
    "gpt-oss": (
        "GptOssConfig",
        {"num_local_experts": 4, "num_experts_per_tok": 2, **rope("yarn", factor=8.0), **MIXED},
    ),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3-moe": ("Qwen3MoeConfig", {"num_experts": 4, **EXPERTS}),
    "deepseek-v3": ("DeepseekV3Config", {**LATENT, **ROUTED, **EXPERTS}),
    "phi3, longrope": (
        "Phi3Config",
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 10_000.0, **FACTORS}}
        | {"original_max_position_embeddings": 64},
    ),
}
"""Configuration class of transformers, and what differs from SMALL."""
UNFUSED = {"gemma2", "gpt-oss"}
"""Soft-caps and sinks: of transformers' own attention only the eager one has them."""


@lru_cache
def directory(family: str) -> Path:
    """Made on first use; removed when the tests end."""
    root = Path(tempfile.mkdtemp(prefix="rstitch-family-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return save(family, root)


def save(family: str, root: Path, **differs: Any) -> Path:
    """A model and its tokenizer, in that directory."""
    words = tokenizer()
    words.save_pretrained(root)
    torch.manual_seed(7)
    made = AutoModelForCausalLM.from_config(config(family, len(words), **differs))
    with torch.no_grad():  # norms of one and biases of zero hide what is done with them
        for name, weight in made.named_parameters():
            if weight.dim() == 1:
                weight += 0.2 * torch.randn_like(weight)
            if name.endswith("sinks"):
                weight += 1.0
    made.save_pretrained(root)
    return root


def config(family: str, tokens: int, **differs: Any) -> Any:
    kind, own = FAMILIES[family]
    return getattr(transformers, kind)(**{**SMALL, "vocab_size": tokens, **own, **differs})


@lru_cache
def plain(family: str) -> PreTrainedModel:
    """The same weights with transformers' own attention."""
    attention = "eager" if family in UNFUSED else "sdpa"
    with torch.inference_mode(False):  # `generate` writes to the buffers of longrope
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            directory(family), attn_implementation=attention, dtype=torch.float32
        )
    return model.eval()


@torch.inference_mode()
def plain_logits(family: str, ids: list[int]) -> torch.Tensor:
    """Raw logits (tokens, columns) of a full forward pass."""
    logits: torch.Tensor = plain(family)(input_ids=torch.tensor([ids]), use_cache=False).logits
    return logits[0]
