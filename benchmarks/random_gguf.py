"""GGUF models of real shapes, Q4_K_M with random weights: speed without a download, nothing else.

Written as packed blocks at once: quantising three gigabytes of random numbers takes minutes and
changes no timing. Types are those that llama.cpp's quantiser gives to each tensor of such a model;
the rows of the 0.5B, no multiple of 256, get the types that it falls back to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_pair import ROWS, SHAPES, TOKENS
from rstitch.config import EngineConfig
from rstitch.llamacpp import header
from rstitch.llamacpp.library import gguf
from rstitch.llamacpp.loader import open_model, settings_of
from rstitch.llamacpp.runner import LlamaRunner
from rstitch.types import Side

CONTEXT = 4096
BLOCK = 1 << 20
"""Bytes of packed weights that repeat."""
FALLBACK = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}
SCALES: dict[str, dict[int, float]] = {
    "Q4_K": {0: 1e-4, 2: 7.5e-4},
    "Q6_K": {208: 1e-5},
    "Q5_0": {0: 1e-3},
    "Q8_0": {0: 2e-4},
}
"""Where a block holds its half-precision scales, with values that make weights of about 0.02."""


def write(shape: str, path: Path) -> Path:
    """A file of Qwen2.5's shape, unless it is there."""
    if path.is_file():
        return path
    config: dict[str, Any] = SHAPES[shape]
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    inner, keys = config["intermediate_size"], width // heads * groups
    writer = gguf().GGUFWriter(path, "qwen2")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(ROWS)
    _matrix(writer, "token_embd", ROWS, width, "Q6_K")
    for i in range(layers):
        better = "Q6_K" if _gets_more(i, layers) else "Q4_K"
        for name, rows, columns, kind in (
            ("attn_q", width, width, "Q4_K"),
            ("attn_k", keys, width, "Q4_K"),
            ("attn_v", keys, width, better),
            ("attn_output", width, width, "Q4_K"),
            ("ffn_gate", inner, width, "Q4_K"),
            ("ffn_up", inner, width, "Q4_K"),
            ("ffn_down", width, inner, better),
        ):
            _matrix(writer, f"blk.{i}.{name}", rows, columns, kind)
        for name, size, value in (
            ("attn_norm", width, 1.0),
            ("ffn_norm", width, 1.0),
            ("attn_q.bias", width, 0.0),
            ("attn_k.bias", keys, 0.0),
            ("attn_v.bias", keys, 0.0),
        ):
            full = name if "." in name else f"{name}.weight"
            writer.add_tensor(f"blk.{i}.{full}", np.full(size, value, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def runner(shape: str, path: Path, threads: int) -> LlamaRunner:
    """Two rows, so that one answer and its twin fit."""
    found = write(shape, path)
    settings = settings_of(header.read(found), EngineConfig(threads=threads), Side.LLM)
    return LlamaRunner(open_model(shape, found), TOKENS, 2, CONTEXT, settings)


def _gets_more(layer: int, layers: int) -> bool:
    """Q4_K_M's choice of the layers that lose most: the first and last eighth, a third between."""
    eighth = layers // 8
    return layer < eighth or layer >= layers - eighth or (layer - eighth) % 3 == 2


def _matrix(writer: Any, name: str, rows: int, columns: int, kind: str) -> None:
    package = gguf()
    if columns % 256:
        kind = FALLBACK[kind]
    number = getattr(package.GGMLQuantizationType, kind)
    block, size = package.GGML_QUANT_SIZES[number]
    pattern = np.random.default_rng(0).integers(0, 256, (BLOCK // size, size), np.uint8)
    for at, scale in SCALES[kind].items():
        pattern[:, at : at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    if kind == "Q6_K":
        pattern[:, 192:208] &= 0x3F  # its signed scales, not too large
    packed = np.resize(pattern, (rows, columns // block * size))
    writer.add_tensor(f"{name}.weight", packed, raw_dtype=number)
