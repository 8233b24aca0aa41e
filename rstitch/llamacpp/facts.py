"""What `rstitch check` says of a GGUF model: from its metadata, no weight is read."""

from __future__ import annotations

from rstitch.config import EngineConfig
from rstitch.llamacpp.header import Header
from rstitch.llamacpp.loader import GGUFFiles, context_length, settings_of
from rstitch.pairs.models import Facts
from rstitch.types import Side

WIDTH = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32}
"""Bytes of a number in KV memory."""


def of_gguf(files: GGUFFiles, side: Side, config: EngineConfig) -> Facts:
    header = files.header
    return Facts(
        model_type=header.architecture,
        layers=header.of_model("block_count"),
        context=context_length(files),
        stored_bytes=header.stored_bytes,
        loaded_bytes=header.stored_bytes,
        kv_bytes_per_token=kv_bytes(header, settings_of(header, config, side).kv_type),
    )


def kv_bytes(header: Header, kv_type: str) -> int:
    """Keys and values of one token in every layer; heads may be given per layer."""
    layers, heads = header.of_model("block_count"), header.of_model("attention.head_count")
    per_layer = header.values.get(f"{header.architecture}.attention.head_count_kv", heads)
    total = sum(per_layer) if isinstance(per_layer, list) else layers * int(per_layer)
    width = header.of_model("embedding_length") // heads
    both = header.of_model("attention.key_length", width)
    both += header.of_model("attention.value_length", width)
    return int(total * both * WIDTH[kv_type])
