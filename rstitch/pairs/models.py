"""One side's model, by whichever engine runs its files: torch or vLLM for directories, llama.cpp
for GGUF.

Nothing of llama.cpp or vLLM is imported before it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rstitch.config import EngineConfig
from rstitch.engine import loader
from rstitch.engine.loader import LoadedModel, ModelFiles
from rstitch.errors import BadRequest
from rstitch.pairs import BUILTIN, Preset, SidePreset, memory, weights
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.llamacpp.loader import GGUFFiles

    Files = ModelFiles | GGUFFiles

ENGINES = ("auto", "torch", "llamacpp", "vllm")
NAMES = {"torch": "torch", "llamacpp": "llama.cpp", "vllm": "vLLM"}
SUFFIX = ".gguf"
OF_ENGINES = {
    "compile": ("torch",),
    "dtype": ("torch", "vllm"),
    "device": ("torch", "vllm"),
    "idle_rows": ("torch", "llamacpp"),
    "threads": ("torch", "llamacpp"),
    **dict.fromkeys(
        ("slm_threads", "llm_threads", "kv_type", "flash_attention", "gpu_layers"), ("llamacpp",)
    ),
    **dict.fromkeys(("slm_vllm", "llm_vllm"), ("vllm",)),
}
"""Settings that some engines alone know."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model from its headers."""

    model_type: str
    layers: int
    context: int
    stored_bytes: int
    loaded_bytes: int
    kv_bytes_per_token: int


def engine_of(side: SidePreset, config: EngineConfig) -> str:
    """ "torch", "llamacpp" or "vllm", by the configuration or by what the files are."""
    if config.engine not in ENGINES:
        known = ", ".join(ENGINES)
        raise BadRequest(f"engine is {config.engine!r}; it must be one of {known}")
    gguf = side.source.endswith(SUFFIX)
    if config.engine in ("torch", "vllm") and gguf:
        told = f"engine is {config.engine!r}, but {side.source} is for llama.cpp; use 'auto'"
        raise BadRequest(told)
    if config.engine == "vllm":
        return "vllm"
    return "llamacpp" if gguf or config.engine == "llamacpp" else "torch"


def check_machine(known: Preset, config: EngineConfig) -> None:
    """Raise BadRequest for settings that cannot be had, before anything is read."""
    engines = {engine_of(known.side(side), config) for side in Side}
    for name, known_by in OF_ENGINES.items():
        given = getattr(config, name) != getattr(EngineConfig(), name)
        if given and not engines.intersection(known_by):
            there = " or ".join(NAMES[engine] for engine in known_by)
            raise BadRequest(f"{name} is for models on {there}; these are not: leave it out")
    if engines & {"torch", "vllm"}:
        loader.check_machine(config)
    if "vllm" in engines:
        from rstitch.vllm import loader as vllm

        vllm.check_machine(config)
    if "llamacpp" in engines:
        from rstitch.llamacpp import loader as gguf

        gguf.check_machine(config)


def read(side: SidePreset, config: EngineConfig, trust_remote_code: bool = False) -> Files:
    """Metadata and tokenizer. Raises BadModel, BadPair or BadRequest."""
    if engine_of(side, config) != "llamacpp":
        return loader.read_files(
            side.source,
            revision=side.revision,
            roles=side.special_tokens,
            trust_remote_code=trust_remote_code,
        )
    from rstitch.llamacpp import loader as gguf

    source = _gguf(side)
    revision = side.revision if source == side.source else side.gguf_revision
    return gguf.read_files(source, revision=revision, roles=side.special_tokens)


def load(files: Files, config: EngineConfig, side: Side) -> LoadedModel:
    """The model itself, ready to run."""
    if isinstance(files, ModelFiles) and config.engine == "vllm":
        from rstitch.vllm import loader as vllm

        return vllm.prepare(files, config, side)
    if isinstance(files, ModelFiles):
        return loader.load_weights(files, config)
    from rstitch.llamacpp import loader as gguf

    return gguf.load_weights(files, config, side)


def local_bytes(files: Files, config: EngineConfig) -> int:
    """What the weights take in memory; 0 for what would have to be downloaded to tell."""
    if isinstance(files, ModelFiles):
        if not Path(files.source).is_dir():
            return 0
        tensors = weights.read_headers(files.source)
        return weights.loaded_bytes(tensors, files.settings, memory.WIDTH[config.dtype])
    return files.header.stored_bytes


def facts(files: Files, side: Side, config: EngineConfig) -> Facts:
    """From headers alone. Raises BadModel for files that are damaged."""
    if not isinstance(files, ModelFiles):
        from rstitch.llamacpp.facts import of_gguf

        return of_gguf(files, side, config)
    width, text = memory.WIDTH[config.dtype], files.settings.get_text_config()
    tensors = weights.read_headers(files.source, files.revision)
    return Facts(
        model_type=str(text.model_type),
        layers=int(text.num_hidden_layers),
        context=loader.context_length(files.settings),
        stored_bytes=weights.stored_bytes(tensors),
        loaded_bytes=weights.loaded_bytes(tensors, files.settings, width),
        kv_bytes_per_token=memory.kv_bytes_per_token(files.settings, width),
    )


def _gguf(side: SidePreset) -> str:
    """The GGUF file of a side that is to run on llama.cpp."""
    if side.source.endswith(SUFFIX):
        return side.source
    if side.gguf:
        return side.gguf
    if Path(side.source).parent == BUILTIN:
        from rstitch.llamacpp.cache import cached

        return str(cached(side.source))
    raise BadRequest(
        f"engine is 'llamacpp', but {side.source} is no GGUF file and none is known of it; name "
        "one (a path, or repo:file), or make it from its directory with `rstitch convert`"
    )
