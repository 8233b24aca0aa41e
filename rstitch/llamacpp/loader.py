"""From a GGUF file, by path or of the hub, to a runner; every failure in one line.

llama.cpp ends the process on what it takes for impossible, so what can be asked of the file is
asked before: `header` looks through it, `trial` loads it in another process first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RemoteEntryNotFoundError

from rstitch.config import EngineConfig
from rstitch.engine import vocabulary
from rstitch.engine.loader import LoadedModel, guarded
from rstitch.engine.vocabulary import Vocabulary
from rstitch.errors import BadModel, BadRequest
from rstitch.llamacpp import header as headers
from rstitch.llamacpp import tokenizer as tokenizers
from rstitch.llamacpp.context import FLASH, KV_TYPES, Model, Settings
from rstitch.llamacpp.convert import ENDS
from rstitch.llamacpp.header import Header
from rstitch.llamacpp.library import check_layers, library, log, most_rows
from rstitch.llamacpp.runner import LlamaRunner
from rstitch.llamacpp.trial import remedied, try_out
from rstitch.types import Side

SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
"""What general.sampling says, by the names of a generation config."""
UNSUPPORTED = ("recurrent", "hybrid", "diffusion")
"""Kinds of models whose rows cannot be cut."""


@dataclass(frozen=True, slots=True)
class GGUFFiles:
    """What a GGUF model says about itself without its weights."""

    source: str
    revision: str | None
    path: Path
    header: Header
    generation: Any
    """Sampling from the metadata, under the names of transformers' generation configuration."""
    tokenizer: Any
    vocabulary: Vocabulary


def read_files(
    source: str, *, revision: str | None = None, roles: Mapping[str, str] | None = None
) -> GGUFFiles:
    """Metadata and tokenizer, from a path or the hub. `roles` as in `vocabulary.read`."""
    found = fetch(source, revision)
    header = headers.read(found, source)
    header.of_model("context_length")
    tokens = len(tokenizers.names(header)[0])
    if tokenizers.JSON in header.values:
        tokenizer = tokenizers.from_json(header)
        own = header.values.get("tokenizer.ggml.eos_token_id")
        ends = frozenset(header.list(ENDS) or ([] if own is None else [own]))
    else:
        try_out(source, found, weights=False)
        model = open_model(source, found, weights=False)
        tokenizer = tokenizers.LlamaTokenizer(header, model)
        ends = tokenizer.ends
    words = vocabulary.read(source, tokenizer, ends, roles)
    if not words.merges:
        words = replace(words, merges=_merges(header))
    if len(tokenizer) != tokens:
        raise BadModel(f"{source} has two tokenizers that differ; choose another file")
    return GGUFFiles(source, revision, found, header, _generation(header), tokenizer, words)


def load_weights(files: GGUFFiles, config: EngineConfig, side: Side) -> LoadedModel:
    """The model itself, ready to run."""
    check_layers(config.gpu_layers)
    try_out(files.source, files.path)
    model = open_model(files.source, files.path, gpu_layers=config.gpu_layers)
    _check_kind(files.source, model)
    settings = settings_of(files.header, config, side)
    tokens, length = len(files.tokenizer), context_length(files)
    runner = LlamaRunner(model, tokens, config.max_rows, length, settings)
    return LoadedModel(files.source, files.tokenizer, runner, files.vocabulary, files.revision)


def context_length(files: GGUFFiles) -> int:
    """Tokens that a row may hold."""
    return files.header.of_model("context_length")


def settings_of(header: Header, config: EngineConfig, side: Side) -> Settings:
    """How a side runs; what nobody has said follows from the file.

    KV as exact as the weights are. Flash attention of llama.cpp computes in half precision, which
    would make float32 KV pointless, so that goes without.
    """
    exact = all(tensor.type == "F32" for tensor in header.tensors)
    kv_type = config.kv_type or ("f32" if exact else "f16")
    flash = config.flash_attention
    if flash == "auto" and kv_type == "f32":
        flash = "off"
    given = config.llm_threads if side is Side.LLM else config.slm_threads
    said = given or config.threads
    threads = said or torch.get_num_threads()
    return Settings(threads, kv_type, flash, config.gpu_layers, said is None and threads > 1)


def check_machine(config: EngineConfig) -> None:
    """Raise BadRequest for what cannot be had, before anything is read."""
    library()
    check_layers(config.gpu_layers)
    if config.max_rows > most_rows():
        raise BadRequest(
            f"max_rows is {config.max_rows}; llama.cpp holds at most {most_rows()} at once"
        )
    if config.kv_type is not None:
        _check_among("kv_type", config.kv_type, KV_TYPES)
    _check_among("flash_attention", config.flash_attention, FLASH)


def _check_among(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise BadRequest(f"{name} is {value!r}; it must be one of {', '.join(known)}")


def fetch(source: str, revision: str | None = None) -> Path:
    """The file on this machine, downloaded first if it is `repo:file` of the hub."""
    path, (repository, colon, name) = Path(source), source.partition(":")
    if path.is_file():
        return path
    if path.is_dir():
        raise BadModel(f"{source} is a directory; name a GGUF file in it")
    if not colon or source.startswith((".", "/", "~")):
        raise BadModel(
            f"{source} is no file; give the path of a GGUF file, or repo:file of the hub"
        )
    got = [_download(repository, shard, revision) for shard in headers.shards(Path(name))]
    return got[0]


def _download(repository: str, name: Path, revision: str | None) -> Path:
    def get() -> str:
        try:
            return hf_hub_download(repository, name.as_posix(), revision=revision)
        except RemoteEntryNotFoundError:
            raise BadModel(
                f"{repository} has no file {name} on the hub; choose one that is listed on its page"
            ) from None

    return Path(guarded("file", get, source=repository, revision=revision))


def open_model(source: str, path: Path, *, weights: bool = True, gpu_layers: int = 0) -> Model:
    api = library()
    params = api.llama_model_default_params()
    params.n_gpu_layers = gpu_layers
    params.vocab_only = not weights
    log.clear()
    handle = api.llama_model_load_from_file(os.fsencode(path), params)
    if not handle:
        raise BadModel(f"llama.cpp cannot load {source}: {remedied(log.reason())}")
    return Model(source, handle)


def _check_kind(source: str, model: Model) -> None:
    """Refuse models whose rows cannot be cut, or that do not write."""
    api = library()
    for kind in UNSUPPORTED:
        if getattr(api, f"llama_model_is_{kind}")(model.handle):
            raise BadModel(f"{source} is a {kind} model, whose rows cannot be cut: choose another")
    if api.llama_model_has_encoder(model.handle) or not api.llama_model_has_decoder(model.handle):
        raise BadModel(f"{source} is no plain decoder: choose another model")


def _merges(header: Header) -> list[str]:
    """Rules of a BPE tokenizer, or the scored pieces of a unigram one."""
    merges = header.list("tokenizer.ggml.merges")
    if merges:
        return merges
    tokens, _ = tokenizers.names(header)
    scores = header.list("tokenizer.ggml.scores")
    return [f"{token} {score}" for token, score in zip(tokens, scores, strict=False)]


def _generation(header: Header) -> Any:
    given = {
        ours: header.values[f"general.sampling.{theirs}"]
        for theirs, ours in SAMPLING.items()
        if f"general.sampling.{theirs}" in header.values
    }
    return SimpleNamespace(do_sample=given.get("temperature", 0) > 0, **given)
