"""From a directory or hub id to a runner: safetensors only, and every failure in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from rstitch.config import EngineConfig
from rstitch.engine import quantised, support
from rstitch.engine.attention import NAME
from rstitch.engine.layout import transpose_linears
from rstitch.engine.probe import probe
from rstitch.engine.torch_runner import TorchRunner
from rstitch.errors import BadModel, BadPair, BadRequest

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One side, ready to run."""

    source: str
    tokenizer: Any
    runner: TorchRunner
    eos_token_ids: frozenset[int]


def load_model(
    source: str, config: EngineConfig, *, trust_remote_code: bool = False
) -> LoadedModel:
    """Load weights and tokenizer. Raises BadModel that names the source and the remedy."""
    device, dtype = _device(config), _dtype(config)
    _check_directory(source)
    options = {"trust_remote_code": trust_remote_code}
    settings = _guarded(
        "config.json", source, lambda: AutoConfig.from_pretrained(source, **options)
    )
    text_settings = _guarded("config.json", source, settings.get_text_config)
    support.check(source, text_settings)
    quantised.check(source, settings, device)
    tokenizer = _guarded(
        "tokenizer", source, lambda: AutoTokenizer.from_pretrained(source, **options)
    )
    if not tokenizer.encode("a", add_special_tokens=False):
        raise BadModel(f"{source} has no tokenizer; copy its tokenizer.json there")
    model, info = _guarded(
        "weights",
        source,
        lambda: AutoModelForCausalLM.from_pretrained(
            source,
            use_safetensors=True,
            attn_implementation=NAME,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # checked below, with a message of our own
            **quantised.placement(settings, device),
            **options,
        ),
    )
    _check_complete(source, model, info, len(tokenizer))
    model = quantised.settle(model, settings, device, dtype).eval().requires_grad_(False)
    transpose_linears(model)
    length = support.longest(text_settings)
    runner = TorchRunner(model, len(tokenizer), config.max_rows, length, config.compile)
    probe(source, runner)
    return LoadedModel(source, tokenizer, runner, _eos(model, tokenizer))


def check_vocabularies(slm: LoadedModel, llm: LoadedModel) -> None:
    """Raise BadPair unless both tokenizers give every id the same token; ten differences named."""
    ours, theirs = slm.tokenizer.get_vocab(), llm.tokenizer.get_vocab()
    if ours == theirs:
        return
    tokens = sorted(ours.keys() | theirs.keys())
    different = [t for t in tokens if ours.get(t) != theirs.get(t)]
    named = ", ".join(f"{t!r}: {ours.get(t)} and {theirs.get(t)}" for t in different[:10])
    raise BadPair(
        f"{slm.source} and {llm.source} do not share a vocabulary: {len(different)} tokens differ "
        f"({named}); choose an SLM of the LLM's own tokenizer family"
    )


def _check_directory(source: str) -> None:
    """Refuse a path that is no model directory, or one that holds pickled weights alone."""
    path = Path(source)
    if not path.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise BadModel(f"{source} is no directory; give a model directory or a hub id")
        return
    if not (path / "config.json").is_file():
        raise BadModel(f"{source} has no config.json; give a Hugging Face model directory")
    if any(path.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in PICKLED for file in path.glob(pattern))
    if pickled:
        raise BadModel(
            f"{source} holds pickled weights ({pickled[0]}), which can run code when loaded; "
            "convert them to safetensors first"
        )
    raise BadModel(f"{source} has no *.safetensors file; the weights are missing")


def _guarded(what: str, source: str, load: Callable[[], Any]) -> Any:
    """Call transformers, turning what it finds wrong with the files into BadModel."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # its reports of many lines: what matters is checked here
    try:
        return load()
    except SafetensorError as error:
        raise BadModel(f"the weights of {source} are damaged ({error}); copy them again") from error
    except Exception as error:  # many types of several libraries; none of our own code runs here
        if isinstance(error, KeyError) and error.args == (NAME,):
            raise BadModel(f"{source} {support.OWN_ATTENTION}: choose another model") from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
        first = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        if Path(source).is_dir():
            raise BadModel(
                f"cannot load the {what} of {source}: {first}; copy the directory again"
            ) from error
        offline = "; the hub is switched off here" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise BadModel(
            f"{source} is no directory, and as a hub id it cannot be loaded{offline}: {first}"
        ) from error
    finally:
        hf_logging.set_verbosity(verbosity)


def _device(config: EngineConfig) -> torch.device:
    try:
        device = torch.device(config.device)
    except RuntimeError:
        raise BadRequest(f"device is {config.device!r}; it must be 'cpu' or 'cuda'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadRequest(f"device is {config.device!r}, but torch finds no GPU; use 'cpu'")
    return device


def _dtype(config: EngineConfig) -> torch.dtype:
    known = ("float32", "bfloat16", "float16")
    if config.dtype not in known:
        raise BadRequest(f"dtype is {config.dtype!r}; it must be one of {', '.join(known)}")
    found: torch.dtype = getattr(torch, config.dtype)
    return found


def _check_complete(source: str, model: Any, info: dict[str, Any], tokens: int) -> None:
    """Refuse what transformers would fill up with random numbers."""
    missing = sorted({*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])})
    if missing:
        raise BadModel(
            f"the weights of {source} do not fit its config.json: {missing[0]} is missing or of "
            f"another size, {len(missing)} tensors in all; copy the directory again"
        )
    rows = model.get_input_embeddings().num_embeddings
    if tokens > rows:
        raise BadModel(f"{source} has {tokens} tokens in its tokenizer, only {rows} in its weights")


def _eos(model: Any, tokenizer: Any) -> frozenset[int]:
    """End-of-text ids from the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    for value in (
        getattr(model.generation_config, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(found)
