"""From settings to vLLM's arguments; no vLLM is needed for that."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

from rstitch.api import load
from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.types import Side
from rstitch.vllm.loader import GATE, arguments, environment, own_options
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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "llm_vllm is no JSON"),
        ("[1]", "llm_vllm is \\[1\\]; it must be like"),
        ('{"env": 1}', "it must be like"),
        ('{"logprobs_mode": "raw_logits"}', "'logprobs_mode', which rstitch sets itself"),
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
