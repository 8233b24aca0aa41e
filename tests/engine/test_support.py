"""What a configuration alone gets refused for, before any weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rstitch.config import EngineConfig
from rstitch.engine import support
from rstitch.engine.attention import NAME
from rstitch.engine.loader import load_model
from rstitch.engine.probe import probe
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel
from tests.families import FACTORS, SMALL, config, plain_logits, save

OTHER = "choose another model"
LAYERS = "layers; full and sliding attention are supported: choose another model"
ALIBI = (
    "uses ALiBi position biases; rotary or learned positions are supported: choose another model"
)
ROW = "rope, which depends on the row; static rope is needed: choose another model"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "llama4": ({}, f"has chunked_attention {LAYERS}"),
    "llama4_text": ({}, f"has chunked_attention {LAYERS}"),
    "bart": ({}, f"is an encoder with a decoder; decoders alone are supported: {OTHER}"),
    "bloom": ({}, ALIBI),
    "mpt": ({}, ALIBI),
    "falcon": ({"alibi": True}, ALIBI),
    "mamba": ({}, f"has linear_attention {LAYERS}"),
    "mamba2": ({}, f"has linear_attention {LAYERS}"),
    "qwen3_next": ({}, f"has linear_attention {LAYERS}"),
    "qwen3_5": ({}, f"has linear_attention {LAYERS}"),
    "jamba": ({}, f"has linear_attention {LAYERS}"),
    "recurrent_gemma": ({}, f"has linear_attention {LAYERS}"),
    "falcon_h1": ({}, f"has hybrid {LAYERS}"),
    "rwkv": ({}, f"has recurrent {LAYERS}"),
    "xlstm": ({}, f"has recurrent {LAYERS}"),
    "lfm2": (
        {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"]},
        f"has conv {LAYERS}",
    ),
    "deepseek_v32": ({}, f"has indexed_attention {LAYERS}"),
    "llama": ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, f"uses dynamic {ROW}"),
}
"""Kind of model: what its configuration says, and why it is refused."""


def alone(root: Path, settings: dict[str, Any]) -> Path:
    """A directory with a configuration, and weights that would be found damaged."""
    (root / "config.json").write_text(json.dumps(settings))
    (root / "model.safetensors").write_bytes(b"")
    return root


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name_before_the_weights_are_read(kind: str, tmp_path: Path) -> None:
    settings, why = REFUSED[kind]
    with pytest.raises(BadModel) as caught:
        load_model(str(alone(tmp_path, {"model_type": kind, **settings})), EngineConfig())
    assert str(caught.value) == f"{tmp_path} {why}"


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma2", "gemma3_text", "gpt_oss", "falcon"])
def test_not_refused(kind: str) -> None:
    support.check("it", AutoConfig.for_model(kind))


def test_remote_code_may_name_rope_and_positions_as_it_likes() -> None:
    class Settings:
        model_type = "homemade"

    for name, value in [
        ("rope_scaling", {"type": "dynamic_ntk"}),
        ("position_embedding_type", "alibi"),
        ("attn_config", type("Inner", (), {"alibi": True})),
        ("layer_types", ["full_attention", "homemade"]),
        ("rope_scaling", {"type": "longrope"}),
    ]:
        settings = Settings()
        support.check("it", settings)
        setattr(settings, name, value)
        with pytest.raises(BadModel):
            support.check("it", settings)
    assert support.longest(Settings()) == support.NO_LIMIT


def test_longrope_is_pinned_to_its_short_factors() -> None:
    """Phi-3's configuration names the length outside of the rope's part, others inside."""
    assert support.longest(config("phi3, longrope", 300)) == 64
    rope = {"rope_type": "longrope", "original_max_position_embeddings": 32, **FACTORS}
    inside = AutoConfig.for_model("llama", **{**SMALL, "rope_parameters": rope})
    assert support.longest(inside) == 32


def test_longrope_up_to_its_pinned_length_and_no_further(tmp_path: Path) -> None:
    """With the whole row, and while another row is in the batch."""
    one = load_model(str(save("phi3, longrope", tmp_path)), EngineConfig(max_rows=2)).runner
    assert one.max_length == one.kv.max_length == 64
    ids = list(range(20, 20 + 64))
    row, other = one.open(), one.open()
    one.extend([Extend(row, ids[:60]), Extend(other, ids[:3])])
    got = one.extend([Extend(row, ids[60:]), Extend(other, ids[3:5])])
    for logits, n in zip(got, (64, 5), strict=True):
        assert (logits - plain_logits("phi3, longrope", ids[:n])[-1]).abs().max() < 1e-4
    with pytest.raises(RuntimeError, match="65 tokens exceed the 64 a row may hold"):
        one.extend([Extend(row, [5])])


def test_llama4_would_run_and_only_its_configuration_tells() -> None:
    """Why `support` exists: chunks of thousands of tokens are beyond any probe."""
    chunked = AutoConfig.for_model(
        "llama4_text", **{**SMALL, "num_hidden_layers": 4}, vocab_size=99
    )
    chunked.num_local_experts = 2
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(chunked, attn_implementation=NAME).eval()
    probe("llama4", TorchRunner(model, 99, 2, 64))
    with pytest.raises(BadModel, match="llama4 has chunked_attention layers"):
        support.check("llama4", chunked)


def test_an_attention_of_its_own_is_no_broken_directory(tmp_path: Path) -> None:
    """GPT-J looks its attention up in a table of three, and fails with the bare name."""
    save("llama", tmp_path)
    small = {"n_embd": 32, "n_layer": 1, "n_head": 2, "rotary_dim": 8, "vocab_size": 400}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gptj", **small}))
    with pytest.raises(BadModel) as caught:
        load_model(str(tmp_path), EngineConfig())
    assert str(caught.value) == (
        f"{tmp_path} has an attention of its own; models that attend through transformers' "
        "interface are supported: choose another model"
    )
