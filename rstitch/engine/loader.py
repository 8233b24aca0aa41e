"""From a directory or hub id to a runner: safetensors only, and every failure in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rstitch.config import EngineConfig
from rstitch.engine import hub, quantised, support, vocabulary
from rstitch.engine.attention import NAME
from rstitch.engine.declared import declared
from rstitch.engine.layout import transpose_linears
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.probe import probe
from rstitch.engine.quiet import quiet
from rstitch.engine.threads import threads_for
from rstitch.engine.torch_runner import TorchRunner
from rstitch.engine.vocabulary import Vocabulary
from rstitch.errors import BadModel, BadRequest, RStitchError

CUDA_PAGE = 64
"""Tokens of a page of KV there: half of one is idle per row, and tables stay short."""
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model says about itself without its weights."""

    source: str
    revision: str | None
    settings: Any
    """transformers' configuration."""
    generation: Any
    """transformers' generation configuration."""
    tokenizer: Any
    vocabulary: Vocabulary
    trust_remote_code: bool = False

    @property
    def options(self) -> dict[str, Any]:
        return {"trust_remote_code": self.trust_remote_code, "revision": self.revision or "main"}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One side, ready to run."""

    source: str
    tokenizer: Any
    runner: Any
    """A `rstitch.engine.runner.Runner`."""
    vocabulary: Vocabulary
    revision: str | None = None
    """Of `source` on the hub, as it was asked for."""
    trust_remote_code: bool = False

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return self.vocabulary.ends


def load_model(
    source: str, config: EngineConfig, *, trust_remote_code: bool = False
) -> LoadedModel:
    """Load weights and tokenizer. Raises BadModel that names the source and the remedy."""
    check_machine(config)
    return load_weights(read_files(source, trust_remote_code=trust_remote_code), config)


def read_files(
    source: str,
    *,
    revision: str | None = None,
    roles: Mapping[str, str] | None = None,
    trust_remote_code: bool = False,
) -> ModelFiles:
    """Configuration and tokenizer, from a directory or the hub. `roles` as in `vocabulary.read`."""
    _check_directory(source)
    options = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
    get = partial(guarded, source=source, revision=revision)
    settings = get("config.json", lambda: AutoConfig.from_pretrained(source, **options))
    support.check(source, get("config.json", settings.get_text_config))
    tokenizer = get("tokenizer", lambda: AutoTokenizer.from_pretrained(source, **options))
    if not tokenizer.encode("a", add_special_tokens=False):
        raise BadModel(f"{source} has no tokenizer; copy its tokenizer.json there")
    generation = _generation(source, revision, settings)
    named = get("tokenizer", lambda: declared(source, revision, tokenizer.get_added_vocab()))
    ends = _eos(generation, settings, tokenizer)
    words = vocabulary.read(source, tokenizer, ends, roles, named)
    return ModelFiles(source, revision, settings, generation, tokenizer, words, trust_remote_code)


def load_weights(files: ModelFiles, config: EngineConfig) -> LoadedModel:
    """The model itself, ready to run."""
    source, settings, tokens = files.source, files.settings, files.vocabulary.size
    device, dtype = _device(config), _dtype(config)
    quantised.check(source, settings, device)
    model, info = guarded(
        "weights",
        lambda: AutoModelForCausalLM.from_pretrained(
            source,
            use_safetensors=True,
            attn_implementation=NAME,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # checked below, with a message of our own
            **quantised.placement(settings, device),
            **files.options,
        ),
        source=source,
        revision=files.revision,
    )
    _check_complete(source, model, info, tokens)
    model = quantised.settle(model, settings, device, dtype).eval().requires_grad_(False)
    transpose_linears(model)
    runner = _runner(model, tokens, context_length(settings), config)
    probe(source, runner)
    if runner.static:
        runner.fuse()  # what it attends with then, the probe cannot hear
    return LoadedModel(
        source,
        files.tokenizer,
        runner,
        files.vocabulary,
        files.revision,
        files.trust_remote_code,
    )


def _runner(model: Any, tokens: int, length: int, config: EngineConfig) -> TorchRunner:
    """On CUDA the KV lies in pages, and decoding runs in steps of fixed shape."""
    rows, threads = config.max_rows, threads_for(config)
    if not on_gpu(config):
        return TorchRunner(model, tokens, rows, length, config.compile, threads)
    kv = PagedKV(rows, length, CUDA_PAGE)
    return TorchRunner(model, tokens, rows, length, threads=threads, kv=kv, static=True)


def context_length(settings: Any) -> int:
    """Tokens that a row may hold."""
    return support.longest(settings.get_text_config())


def on_gpu(config: EngineConfig) -> bool:
    return _device(config).type == "cuda"


def check_machine(config: EngineConfig) -> None:
    """Raise BadRequest for a device or dtype that cannot be had, before anything is read."""
    if on_gpu(config) and config.compile:
        raise BadRequest("compile is for the CPU; on a GPU steps run as graphs: leave it out")
    _dtype(config)


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


def guarded(what: str, load: Callable[[], Any], *, source: str, revision: str | None = None) -> Any:
    """Call transformers, turning what it finds wrong with the files into BadModel."""
    try:
        with quiet():
            return load()
    except RStitchError:
        raise
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
        line = hub.explain(source, revision, error) or (
            f"{source} is no directory, and as a hub id it cannot be loaded: {first}"
        )
        raise BadModel(line) from error


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


def _generation(source: str, revision: str | None, settings: Any) -> Any:
    """Of the file, or of the configuration where there is none."""
    try:
        with quiet():
            return GenerationConfig.from_pretrained(source, revision=revision or "main")
    except OSError:
        return GenerationConfig.from_model_config(settings)


def _eos(generation: Any, settings: Any, tokenizer: Any) -> frozenset[int]:
    """End-of-text ids from the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    for value in (
        getattr(generation, "eos_token_id", None),
        getattr(settings, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(found)
