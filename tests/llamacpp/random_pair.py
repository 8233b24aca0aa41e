"""The random pair of `tests.models` as GGUF files, and engines on llama.cpp over them.

Its ids are numbers without a tokenizer, so the files have none; the engine needs none either.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (rstitch[llamacpp])")
gguf = pytest.importorskip("gguf", reason="gguf is not installed (rstitch[llamacpp])")

from rstitch.config import EngineConfig  # noqa: E402
from rstitch.engine.engine import InProcessEngine  # noqa: E402
from rstitch.llamacpp import convert, loader  # noqa: E402
from rstitch.llamacpp.context import Settings  # noqa: E402
from rstitch.llamacpp.runner import LlamaRunner  # noqa: E402
from rstitch.types import Side  # noqa: E402
from tests import models  # noqa: E402

EXACT = Settings(threads=1, kv_type="f32", flash_attention="off")
LENGTH = 256


@cache
def directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="rstitch-gguf-"))
    atexit.register(shutil.rmtree, path, True)
    return path


@cache
def file(side: Side) -> Path:
    """One side in float32."""
    model, path = models.model(side), directory() / f"{side.label}.gguf"
    config = model.config
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config.vocab_size)
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight":  # tied
            writer.add_tensor(convert.renamed("random", name), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@cache
def weights(side: Side) -> Any:
    return loader.open_model(side.label, file(side))


def runner(side: Side, max_rows: int = 8, settings: Settings = EXACT) -> LlamaRunner:
    return LlamaRunner(weights(side), models.VOCAB, max_rows, LENGTH, settings)


def engine(llm: Side = Side.LLM, **settings: Any) -> InProcessEngine:
    """As `tests.models.engine`, on llama.cpp."""
    config = EngineConfig(**{"max_rows": 8, "measure_costs": False, **settings})
    sides = {Side.SLM: Side.SLM, Side.LLM: llm}
    runners = {side: runner(one, config.max_rows) for side, one in sides.items()}
    return InProcessEngine(runners, frozenset({models.EOS}), config, marks=models.MARKS)
