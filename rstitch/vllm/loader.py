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
from rstitch.types import Side
from rstitch.vllm.report import WIDTH
from rstitch.vllm.side import Shape, VllmSide

GATE = "rstitch.vllm.gate:Gate"
OURS = ("model", "logits_processors", "logprobs_mode", "max_num_seqs", "skip_tokenizer_init")
"""vLLM arguments that stitching itself depends on."""


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
        "enable_prefix_caching": False,
        "enforce_eager": config.device == "cpu",  # to compile needs a compiler
        "logits_processors": [GATE],
        "logprobs_mode": "processed_logits",
        "max_logprobs": 2 * WIDTH,
        "disable_log_stats": True,
        **{name: value for name, value in own_options(config, side).items() if name != "env"},
    }


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
    return found
