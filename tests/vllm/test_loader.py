"""From settings to vLLM's arguments; no vLLM is needed for that."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from rstitch.api import load
from rstitch.config import EngineConfig
from rstitch.engine import loader
from rstitch.errors import BadRequest
from rstitch.types import Side
from rstitch.vllm.loader import GATE, arguments, environment, own_options, prepare
from rstitch.vllm.starting import LEVEL, Log, starting
from tests.pair import pair


def test_users_arguments_come_last_and_variables_stay_apart() -> None:
    config = EngineConfig(
        engine="vllm",
        max_rows=7,
        llm_vllm='{"tensor_parallel_size": 2, "dtype": "half", "env": {"CUDA_VISIBLE_DEVICES": 1}}',
    )
    llm, slm = (arguments("m", "r", False, 64, config, side) for side in (Side.LLM, Side.SLM))
    assert (llm["tensor_parallel_size"], llm["dtype"], slm["dtype"]) == (2, "half", "float32")
    assert "env" not in llm
    assert environment(config, Side.LLM) == {"CUDA_VISIBLE_DEVICES": "1"}
    assert environment(config, Side.SLM) == {}
    assert llm["logits_processors"] == [GATE]
    assert llm["max_num_seqs"] == 7
    assert llm["enforce_eager"]
    assert llm["disable_hybrid_kv_cache_manager"]  # `VllmSide.holds` counts every layer alike


def test_two_engines_start_on_one_gpu() -> None:
    """vLLM asks for nine tenths of it to be free, although KV memory is given in bytes."""
    gpu, cpu = (EngineConfig(engine="vllm", device=device) for device in ("cuda", "cpu"))
    found = [arguments("m", None, False, 64, gpu, side) for side in Side]
    assert sum(one["gpu_memory_utilization"] for one in found) < 0.2
    assert not any(one["enforce_eager"] for one in found)
    assert "gpu_memory_utilization" not in arguments("m", None, False, 64, cpu, Side.LLM)


def test_kv_memory_leaves_room_for_the_weights() -> None:
    """Nothing of them is loaded when it is reckoned."""
    source = pair().names["llm"]
    files = loader.read_files(source)
    auto, given = (
        prepare(files, EngineConfig(engine="vllm", kv_memory=gib), Side.LLM).runner.shape.weights
        for gib in (None, 1.0)
    )
    stored = Path(source, "model.safetensors").stat().st_size
    assert 0.9 * stored < auto <= stored
    assert given == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "llm_vllm is no JSON"),
        ("[1]", "llm_vllm is \\[1\\]; it must be like"),
        ('{"env": 1}', "it must be like"),
        ('{"logprobs_mode": "raw_logits"}', "'logprobs_mode', which rstitch sets itself"),
        ('{"disable_hybrid_kv_cache_manager": false}', "which rstitch sets itself"),
        ('{"speculative_config": {"method": "ngram"}}', "'speculative_config'; nobody can draft"),
        ('{"spec_model": "m"}', "'spec_model'; nobody can draft"),
    ],
)
def test_strange_arguments_are_refused(text: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        own_options(EngineConfig(llm_vllm=text), Side.LLM)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"engine": "vllm", "compile": True}, "compile is for models on torch"),
        ({"engine": "vllm", "idle_rows": 1}, "idle_rows is for models on torch or llama.cpp"),
        ({"engine": "vllm", "threads": 1}, "threads is for models on torch or llama.cpp"),
        ({"engine": "vllm", "kv_type": "f16"}, "kv_type is for models on llama.cpp"),
        ({"slm_vllm": "{}"}, "slm_vllm is for models on vLLM"),
    ],
)
def test_settings_of_other_engines_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        load(**pair().names, **settings)


def test_gguf_files_and_a_missing_vllm_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRequest, match="engine is 'vllm', but small.gguf is for llama.cpp"):
        load(slm="small.gguf", llm="large.gguf", engine="vllm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadRequest, match="not installed; pip install 'rstitch\\[vllm\\]'"):
        load(engine="vllm")


def test_what_processes_write_while_they_start_is_kept_and_searched(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LEVEL, raising=False)
    with starting("cpu") as log:
        assert os.environ[LEVEL] == "ERROR"
        os.system(f"{sys.executable} -c 'raise ValueError(\"too large\")'")
        assert log.reason() == "too large"
    assert LEVEL not in os.environ
    assert capfd.readouterr().err == ""
    monkeypatch.setenv(LEVEL, "INFO")
    with starting("cpu") as log:
        os.system("echo here >&2")
    assert log == Log()
    assert "here" in capfd.readouterr().err
