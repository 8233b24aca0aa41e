"""The shapes of the built-in models: the LLM, the SLM, and two more SLMs for comparison.

All are trained as Qwen2 models and published as the Llama models that compute the same: for
anything called qwen2, transformers' AutoTokenizer puts Qwen's own splitting rules in place of the
tokenizer's, whatever the files say. LLM and SLMs have different numbers of embedding rows although
they share a tokenizer, as in real pairs (Qwen2.5 pads by model size), so that nothing relies on
equal rows.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

Role = Literal["llm", "slm", "overconfident", "sibling"]
ROLES: tuple[Role, ...] = get_args(Role)
SMALL: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 384,
}
SHAPES: dict[Role, dict[str, Any]] = {
    "llm": {
        "hidden_size": 192,
        "num_hidden_layers": 8,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 512,
    },
    "slm": SMALL,
    "overconfident": SMALL,
    "sibling": SMALL,
}
SPARE_ROWS: dict[Role, int] = {"llm": 64, "slm": 0, "overconfident": 0, "sibling": 0}


def rows(role: Role, real: int) -> int:
    """The embedding rows: the real ids rounded up to 64, and 64 more for the LLM."""
    return -(-real // 64) * 64 + SPARE_ROWS[role]


def build(
    role: Role, tokenizer: PreTrainedTokenizerFast, seed: int, **shape: int
) -> Qwen2ForCausalLM:
    """A fresh model with seeded weights; `shape` is what differs from the role's own."""
    config = Qwen2Config(
        vocab_size=rows(role, len(tokenizer)),
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**SHAPES[role], **shape},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.set_attn_implementation("eager")  # trains a sixth faster on CPU than torch's fused one
    return model


def as_llama(model: Qwen2ForCausalLM) -> LlamaForCausalLM:
    """The same function as a Llama model, whose extra biases (on the attention's output) are 0."""
    old = model.config
    config = LlamaConfig(
        vocab_size=old.vocab_size,
        hidden_size=old.hidden_size,
        num_hidden_layers=old.num_hidden_layers,
        num_attention_heads=old.num_attention_heads,
        num_key_value_heads=old.num_key_value_heads,
        head_dim=old.hidden_size // old.num_attention_heads,
        intermediate_size=old.intermediate_size,
        max_position_embeddings=old.max_position_embeddings,
        rms_norm_eps=old.rms_norm_eps,
        rope_parameters=old.rope_parameters,
        attention_bias=True,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=old.eos_token_id,
        pad_token_id=old.pad_token_id,
    )
    twin = LlamaForCausalLM(config)
    extra = {n: torch.zeros_like(p) for n, p in twin.named_parameters() if "o_proj.bias" in n}
    twin.load_state_dict({**model.state_dict(), **extra})
    return twin
