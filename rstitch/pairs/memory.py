"""How much memory there is, and what a token of KV takes of it."""

from __future__ import annotations

from typing import Any

from rstitch.engine.memory import Memory, of_device

__all__ = ["Memory", "WIDTH", "kv_bytes_per_token", "of_device"]

WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""


def kv_bytes_per_token(settings: Any, width: int) -> int:
    """Keys and values of one token in every layer. Layers with a window keep all tokens too."""
    text = settings.get_text_config()
    heads = int(text.num_attention_heads)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    dim = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return 2 * int(text.num_hidden_layers) * kv_heads * dim * width
