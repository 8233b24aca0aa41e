"""From files and configuration to a vLLM engine's arguments; nothing is started here."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from rstitch.config import EngineConfig
from rstitch.engine.loader import LoadedModel, ModelFiles, context_length
from rstitch.errors import BadRequest
from rstitch.pairs.memory import WIDTH as WIDTHS
from rstitch.pairs.memory import kv_bytes_per_token
from rstitch.pairs.weights import loaded_bytes, read_headers
from rstitch.types import Side
from rstitch.vllm.report import WIDTH
from rstitch.vllm.side import Shape, VllmSide

GATE = "rstitch.vllm.gate:Gate"
OURS = (
    "model", "logits_processors", "logprobs_mode", "max_num_seqs", "skip_tokenizer_init",
    "disable_hybrid_kv_cache_manager",
)  # fmt: skip
"""vLLM arguments that stitching itself depends on."""
NEVER = ("speculative_config", "spec_method", "spec_model", "spec_tokens")
"""Those that it cannot go with: a draft is checked against logits that the gate has overwritten."""
LITTLE = 0.05
"""Of a GPU that has to be free for vLLM to start. It asks for nine tenths, which one of two engines
cannot find, and takes what it is told to for KV whatever this is."""


def check_machine(config: EngineConfig) -> None:
    """Raise BadRequest for what cannot be had, before anything is read."""
    if importlib.util.find_spec("vllm") is None:
        raise BadRequest("engine is 'vllm', which is not installed; pip install 'rstitch[vllm]'")
    for side in Side:
        own_options(config, side)


def prepare(files: ModelFiles, config: EngineConfig, side: Side) -> LoadedModel:
    """A side ready to start."""
    shape = Shape(
        files.source,
        files.vocabulary.size,
        files.settings.get_text_config().vocab_size,
        context_length(files.settings),
        kv_bytes_per_token(files.settings, WIDTHS[config.dtype]),
        _weights(files, config),
    )
    code, length = files.trust_remote_code, shape.max_length
    options = arguments(files.source, files.revision, code, length, config, side)
    runner = VllmSide(shape, options, environment(config, side))
    return LoadedModel(
        files.source,
        files.tokenizer,
        runner,
        files.vocabulary,
        files.revision,
        files.trust_remote_code,
    )


def arguments(
    source: str,
    revision: str | None,
    trust_remote_code: bool,
    context: int,
    config: EngineConfig,
    side: Side,
) -> dict[str, Any]:
    """Of vLLM's engine; the user's own come last."""
    return {
        "model": source,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "skip_tokenizer_init": True,
        "use_tqdm_on_load": False,
        "generation_config": "vllm",
        "dtype": config.dtype,
        "max_model_len": context,
        "max_num_seqs": config.max_rows,
        "max_num_batched_tokens": max(config.max_step_tokens, config.max_rows),
        **({} if config.device == "cpu" else {"gpu_memory_utilization": LITTLE}),
        "disable_hybrid_kv_cache_manager": True,  # every layer keeps all tokens: room is counted so
        "enable_prefix_caching": False,
        "enforce_eager": config.device == "cpu",  # to compile needs a compiler
        "logits_processors": [GATE],
        "logprobs_mode": "processed_logits",
        "max_logprobs": 2 * WIDTH,
        "disable_log_stats": True,
        **{name: value for name, value in own_options(config, side).items() if name != "env"},
    }


def _weights(files: ModelFiles, config: EngineConfig) -> int:
    """Bytes that they take, for whom KV memory has to leave room; not asked where it is given."""
    if config.kv_memory is not None:
        return 0
    tensors = read_headers(files.source, files.revision)
    return loaded_bytes(tensors, files.settings, WIDTHS[config.dtype])


def environment(config: EngineConfig, side: Side) -> dict[str, str]:
    """Variables for that side's processes: the key "env" of the user's arguments."""
    return {name: str(value) for name, value in own_options(config, side).get("env", {}).items()}


def own_options(config: EngineConfig, side: Side) -> dict[str, Any]:
    """The user's arguments for that side's engine. Raises BadRequest."""
    name = f"{side.label}_vllm"
    text = getattr(config, name)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"{name} is no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("env", {}), dict):
        raise BadRequest(
            f'{name} is {text}; it must be like {{"tensor_parallel_size": 2}}, and "env" in it '
            'like {"CUDA_VISIBLE_DEVICES": "1"}'
        )
    for option in OURS:
        if option in found:
            raise BadRequest(f"{name} has {option!r}, which rstitch sets itself: leave it out")
    for option in NEVER:
        if option in found:
            raise BadRequest(
                f"{name} has {option!r}; nobody can draft for two models that write together: "
                "leave it out"
            )
    return found
