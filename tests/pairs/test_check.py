"""What a pair needs, computed from headers alone, against models that are really loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rstitch import api
from rstitch.config import EngineConfig
from rstitch.engine import memory as machine
from rstitch.engine.loader import load_model
from rstitch.engine.runner import Extend
from rstitch.errors import BadModel, BadPair
from rstitch.pairs import Preset, SidePreset, check, memory, weights
from rstitch.types import Side
from tests import pair as tiny
from tests import wild
from tests.pair import pair
from tests.test_loader import shard

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "max_position_embeddings": 64,
    "eos_token_id": 1,
    "bos_token_id": None,
}


def qwen3(tied: bool) -> PreTrainedModel:
    """Grouped heads, of a size that is not hidden_size over heads."""
    config = Qwen3Config(
        **SHAPE, vocab_size=330, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        tie_word_embeddings=tied,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def llama() -> PreTrainedModel:
    """Every head has keys and values of its own."""
    config = LlamaConfig(
        **SHAPE, vocab_size=330, num_attention_heads=2, num_key_value_heads=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def gemma2() -> PreTrainedModel:
    """Every other layer has a window; its keys are kept all the same."""
    config = Gemma2Config(
        **SHAPE, vocab_size=330, num_attention_heads=4, num_key_value_heads=1, head_dim=8,
        sliding_window=4,
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


MODELS = {
    "tied": lambda: qwen3(True),
    "untied": lambda: qwen3(False),
    "llama": llama,
    "gemma2": gemma2,
}


def saved(model: PreTrainedModel, directory: Path) -> Path:
    torch.manual_seed(0)
    tiny.tokenizer().save_pretrained(directory)
    model.save_pretrained(directory)
    return directory


def tensors(directory: Path) -> list[weights.Tensor]:
    return weights.read_headers(str(directory))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", MODELS)
def test_bytes_are_those_of_the_loaded_model(kind: str, dtype: str, tmp_path: Path) -> None:
    directory = saved(MODELS[kind](), tmp_path)
    loaded = load_model(str(directory), EngineConfig(dtype=dtype, max_rows=1))  # type: ignore[arg-type]
    model, runner = loaded.runner.model, loaded.runner
    width = memory.WIDTH[dtype]
    needed = weights.loaded_bytes(tensors(directory), model.config, width)
    assert needed == sum(weight.nbytes for weight in model.parameters())
    row = runner.open()
    runner.extend([Extend(row, [5, 6, 7])])
    per_token = runner.kv.nbytes / (runner.kv.slots * runner.kv.capacity)
    assert memory.kv_bytes_per_token(model.config, width) == per_token


def test_a_tied_matrix_that_was_stored_twice_counts_once(tmp_path: Path) -> None:
    directory = saved(qwen3(True), tmp_path)
    before = tensors(directory)
    path = directory / "model.safetensors"
    content = load_file(path)
    content["lm_head.weight"] = content["model.embed_tokens.weight"].clone()
    save_file(content, path, metadata={"format": "pt"})
    settings = qwen3(True).config
    after = tensors(directory)
    assert weights.stored_bytes(after) > weights.stored_bytes(before)
    assert weights.loaded_bytes(after, settings, 4) == weights.loaded_bytes(before, settings, 4)
    untied = qwen3(False).config
    assert weights.loaded_bytes(after, untied, 4) == weights.stored_bytes(after)


def test_weights_in_several_files(tmp_path: Path) -> None:
    directory = pair().copy(Side.LLM, tmp_path / "model")
    whole = tensors(directory)
    shard(directory)
    assert sorted(tensors(directory), key=lambda t: t.name) == sorted(whole, key=lambda t: t.name)


def test_a_quantised_checkpoint_weighs_what_its_files_do(tmp_path: Path) -> None:
    packed = {
        "model.layers.0.mlp.up_proj.qweight": torch.zeros(8, 4, dtype=torch.int32),
        "model.layers.0.mlp.up_proj.scales": torch.zeros(4, dtype=torch.float16),
        "model.norm.weight": torch.zeros(32, dtype=torch.bfloat16),
    }
    save_file(packed, tmp_path / "model.safetensors")
    settings = llama().config
    found = tensors(tmp_path)
    assert weights.stored_bytes(found) == 128 + 8 + 64
    assert weights.loaded_bytes(found, settings, 4) == 128 + 16 + 128  # int32 is never cast
    settings.quantization_config = {"quant_method": "gptq"}
    assert weights.loaded_bytes(found, settings, 4) == 200


@pytest.mark.parametrize("size", [-1, 60, 5, 0])
def test_a_damaged_file_is_seen_in_its_header(tmp_path: Path, size: int) -> None:
    directory = pair().copy(Side.SLM, tmp_path / "model")
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BadModel) as error:
        api.load(slm=str(directory), llm=str(pair().llm))
    message = str(error.value)
    assert message.startswith(f"the weights of {directory} are damaged (model.safetensors: ")
    assert message.endswith("copy them again")


def test_a_missing_shard(tmp_path: Path) -> None:
    directory = pair().copy(Side.SLM, tmp_path / "model")
    gone = shard(directory)[0]
    gone.unlink()
    with pytest.raises(BadModel, match=f"has no {gone.name}; copy the directory again"):
        tensors(directory)


def test_a_bad_pair_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    """The weights here are cut off, which reading would have found first."""
    directory = pair().copy(Side.SLM, tmp_path / "model")
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    content = json.loads((directory / "tokenizer.json").read_text())
    content["model"]["merges"].reverse()
    (directory / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(BadPair, match="merges differ"):
        api.load(slm=str(directory), llm=str(pair().llm))


def report(slm: Path, llm: Path, **settings: Any) -> check.Report:
    known = Preset("", SidePreset(str(slm)), SidePreset(str(llm)))
    return check.examine(check.read_pair(known), EngineConfig(**settings), {})


def test_a_report_of_a_pair_with_one_vocabulary() -> None:
    found = report(pair().slm, pair().llm)
    assert found.problems == []
    assert found.translated == found.without_partner == {"slm": [], "llm": []}
    roles = {"end": tiny.STOP, "think_open": tiny.THINK, "think_close": tiny.UNTHINK}
    assert found.llm.special_tokens == roles
    assert found.slm.template and found.slm.opens_thinking
    assert found.slm.context == tiny.CONTEXT and found.slm.layers == 1
    assert found.slm.kv_bytes_per_token == 2 * 1 * 1 * 16 * 4
    assert found.llm.kv_bytes_per_token == 2 * 2 * 2 * 16 * 4
    needed = found.slm.loaded_bytes + found.llm.loaded_bytes
    per_token = found.slm.kv_bytes_per_token + found.llm.kv_bytes_per_token
    room = (found.memory.free - needed) // (256 * per_token)
    assert found.answers == {256: room}  # its context is shorter than any length of the list
    json.dumps(found.as_dict())


def test_a_report_of_a_pair_whose_special_tokens_differ() -> None:
    found = report(wild.pair().slm, wild.pair().llm)
    assert found.problems == []
    first = tiny.tokenizer().convert_tokens_to_ids(tiny.END)
    assert found.translated["slm"] == [
        f"{wild.R1_END} {first} -> {wild.STOP} {first + 2}",
        f"<think> {first + 5} -> <think> {first + 6}",
        f"</think> {first + 6} -> </think> {first + 5}",
    ]
    assert found.slm.tokens == found.llm.tokens == first + 7  # none that transformers made up
    assert found.without_partner == {
        "slm": sorted([wild.USER, wild.ASSISTANT, wild.BOS, wild.EOT]),
        "llm": sorted([wild.END, wild.START, wild.CALL, "</tool_call>"]),
    }
    assert found.notes == [
        "only the LLM's template opens <think>; it is opened for both",
        "the LLM is only 1.0 times as large as the SLM; below 4 there is little to gain "
        "(docs/choose-slm.md)",
    ]


def test_how_many_answers_fit() -> None:
    side = replace(report(pair().slm, pair().llm).slm, context=20_000, kv_bytes_per_token=1000)
    other = replace(side, context=200_000, kv_bytes_per_token=3000)
    # 4,000 bytes per token: 4.096 MB, 16.384 MB and 65.536 MB an answer
    assert check.how_many(100_000_000, side, other) == {1024: 24, 4096: 6, 16384: 1}
    assert check.how_many(-5, side, other) == {1024: 0, 4096: 0, 16384: 0}


def test_weights_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    small = memory.Memory(total=50_000, free=40_000)
    monkeypatch.setattr(memory, "of_device", lambda device: small)
    (problem,) = report(pair().slm, pair().llm).problems
    assert problem.startswith("the weights take 0.0 GiB in float32, the device has free 0.0; ")
    assert problem.endswith("bfloat16 (--dtype) halves it")
    (problem,) = report(pair().slm, pair().llm, dtype="bfloat16").problems
    assert problem.endswith("choose smaller models")
    with pytest.raises(BadPair, match="the device has 0.0; bfloat16"):
        api.load(slm=str(pair().slm), llm=str(pair().llm))


def test_the_memory_of_this_machine() -> None:
    here = memory.of_device("cpu")
    assert 2**28 < here.free <= here.total < 2**50


def test_a_container_s_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("300000000\n")
    used.write_text("100000000\n")
    monkeypatch.setattr(machine, "CGROUPS", ((str(limit), str(used)),))
    assert memory.of_device("cpu") == memory.Memory(300_000_000, 200_000_000)
    limit.write_text("max\n")
    assert memory.of_device("cpu").total > 300_000_000
