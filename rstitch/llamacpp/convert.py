"""A Hugging Face directory as one GGUF file: Llama, Qwen 2 and Qwen 3 with byte-level BPE.

Enough for the built-in pair and for what people train themselves in these shapes; for all others
llama.cpp brings a converter of its own. The whole tokenizer.json goes along under GGUF's own key
for it, so that text becomes the same ids as with the directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from rstitch.engine.loader import ModelFiles, read_files
from rstitch.errors import BadModel, BadRequest
from rstitch.files import beside, replaced
from rstitch.llamacpp.library import gguf, library, log
from rstitch.llamacpp.tokenizer import JSON
from rstitch.pairs import weights

ENDS = "rstitch.eos_token_ids"
"""Our own key: GGUF's names one end of text, models may have several."""
TYPES = ("f32", "f16", "q8_0", "q4_k_m")
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
PRETOKENIZERS = {"qwen2": "qwen2", "qwen3": "qwen2"}
"""For programs that do not read tokenizer.json; "default" where nothing is known."""
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
BLOCK = 32
"""Numbers that q8_0 packs together; rows that are no multiple of it stay f16."""
ELSEWHERE = "convert it with llama.cpp's convert_hf_to_gguf.py"


def convert(source: str, target: Path, kind: str = "f32", *, revision: str | None = None) -> None:
    """Write the model at `source` to a GGUF file, whole or not at all.

    Raises BadModel for a model that this does not convert, BadRequest for a type that is none.
    """
    if kind not in TYPES:
        raise BadRequest(f"type is {kind!r}; it must be one of {', '.join(TYPES)}")
    if not Path(source).is_dir():
        raise BadModel(f"{source} is no directory; download the model first (`hf download`)")
    files = read_files(source, revision=revision)
    architecture = _check(files)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced(target) as partial:
            if kind == "q4_k_m":
                with beside(partial) as whole:
                    _write(files, architecture, "f32", whole)
                    quantise(whole, partial, "q4_k_m")
            else:
                _write(files, architecture, kind, partial)
    except OSError as error:
        raise BadRequest(f"{target} cannot be written: {error.strerror or error}") from error


def quantise(path: Path, target: Path, kind: str) -> None:
    """llama.cpp's own quantisation of a GGUF file, with as many threads as torch has."""
    api = library()
    params = api.llama_model_quantize_default_params()
    params.ftype = getattr(api, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    params.nthread = torch.get_num_threads()
    log.clear()
    if api.llama_model_quantize(os.fsencode(path), os.fsencode(target), params):
        raise BadModel(f"llama.cpp cannot quantise {path} to {kind}: {log.reason()}")


def _check(files: ModelFiles) -> str:
    """GGUF's name of the architecture. Raises BadModel for what is not converted here."""
    source, settings = files.source, files.settings
    name = (getattr(settings, "architectures", None) or ["none"])[0]
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BadModel(f"{source} is a {name}; converted here are {known}: {ELSEWHERE}")
    rope = (getattr(settings, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope != "default":
        raise BadModel(f"{source} has rope of type {rope!r}: {ELSEWHERE}")
    kinds = getattr(settings, "layer_types", None)
    if "sliding_attention" in (kinds or ()) or (not kinds and _window(settings)):
        raise BadModel(f"{source} has layers with a sliding window: {ELSEWHERE}")
    if settings.hidden_act != "silu":
        raise BadModel(f"{source} computes with {settings.hidden_act!r}: {ELSEWHERE}")
    core = getattr(files.tokenizer, "backend_tokenizer", None)
    if core is None or not files.vocabulary.merges or _is_unigram(files):
        raise BadModel(f"{source} has no byte-level BPE tokenizer: {ELSEWHERE}")
    return ARCHITECTURES[name]


def _window(settings: Any) -> int | None:
    window: int | None = getattr(settings, "sliding_window", None)
    return window


def _is_unigram(files: ModelFiles) -> bool:
    return any(token.startswith("▁") for token in files.vocabulary.base)


def _write(files: ModelFiles, architecture: str, kind: str, path: Path) -> None:
    writer = gguf().GGUFWriter(path, architecture)
    try:
        _describe(writer, files, kind)
        rows = _tokens(writer, files, architecture)
        for name, tensor in _tensors(files, architecture, rows):
            _add(writer, name, tensor, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _describe(writer: Any, files: ModelFiles, kind: str) -> None:
    """What llama.cpp needs to know of the model's shape, and how it samples."""
    s, types = files.settings, gguf().LlamaFileType
    heads = s.num_attention_heads
    dim = getattr(s, "head_dim", None) or s.hidden_size // heads
    writer.add_name(Path(files.source).name)
    names = {"f32": types.ALL_F32, "f16": types.MOSTLY_F16, "q8_0": types.MOSTLY_Q8_0}
    writer.add_file_type(names[kind])
    writer.add_context_length(s.max_position_embeddings)
    writer.add_embedding_length(s.hidden_size)
    writer.add_block_count(s.num_hidden_layers)
    writer.add_feed_forward_length(s.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(getattr(s, "num_key_value_heads", None) or heads)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_rope_dimension_count(dim)
    writer.add_rope_freq_base(s.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(s.rms_norm_eps)
    if getattr(files.generation, "do_sample", None):
        for name, add in (
            ("temperature", writer.add_sampling_temp),
            ("top_k", writer.add_sampling_top_k),
            ("top_p", writer.add_sampling_top_p),
            ("min_p", writer.add_sampling_min_p),
        ):
            value = getattr(files.generation, name, None)
            if value is not None:
                add(value)


def _tokens(writer: Any, files: ModelFiles, architecture: str) -> int:
    """The tokenizer, twice: as llama.cpp knows it and whole. Returns the rows of the embedding."""
    words, tokenizer, kinds = files.vocabulary, files.tokenizer, gguf().TokenType
    rows = files.settings.vocab_size
    named = {i: (token, kinds.NORMAL) for token, i in words.base.items()}
    special = set(tokenizer.all_special_ids)
    for token, i in words.added.items():
        named[i] = token, kinds.CONTROL if i in special else kinds.USER_DEFINED
    listed = [named.get(i, (f"[PAD{i}]", kinds.UNUSED)) for i in range(rows)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRETOKENIZERS.get(architecture, "default"))
    writer.add_token_list([token for token, _ in listed])
    writer.add_token_types([kind for _, kind in listed])
    writer.add_token_merges(list(words.merges))
    writer.add_string(JSON, tokenizer.backend_tokenizer.to_str())
    own = tokenizer.eos_token_id
    writer.add_eos_token_id(own if own in words.ends else min(words.ends))
    writer.add_array(ENDS, sorted(words.ends))
    for add, token_id in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if token_id is not None:
            add(token_id)
    writer.add_add_bos_token(bool(getattr(tokenizer, "add_bos_token", False)))
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
    return int(rows)


def _tensors(
    files: ModelFiles, architecture: str, rows: int
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """GGUF's name and float32 values of every weight."""
    settings = files.settings
    heads = {
        "attn_q": settings.num_attention_heads,
        "attn_k": getattr(settings, "num_key_value_heads", None) or settings.num_attention_heads,
    }
    found = dict(_stored(files.source))
    if settings.tie_word_embeddings:
        found.pop("lm_head.weight", None)
    for name, tensor in found.items():
        theirs = renamed(files.source, name)
        values = tensor.float().numpy()
        part = theirs.split(".")[-2]
        if architecture == "llama" and part in heads:
            values = _interleaved(values, heads[part])
        if theirs in ("token_embd.weight", "output.weight") and len(values) != rows:
            raise BadModel(f"{files.source}: {name} has {len(values)} rows, its config says {rows}")
        yield theirs, values


def _stored(source: str) -> Iterator[tuple[str, torch.Tensor]]:
    for path in weights.files(source, Path(source)):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # it is no mapping
                yield name, file.get_tensor(name)


def renamed(source: str, name: str, names: Mapping[str, str] = NAMES) -> str:
    stem, _, kind = name.rpartition(".")
    parts = stem.split(".")
    if parts[:2] == ["model", "layers"]:
        block, inner = f"blk.{parts[2]}.", ".".join(parts[3:])
    else:
        block, inner = "", stem
    if inner not in names or kind not in ("weight", "bias"):
        raise BadModel(f"{source} has a weight {name} that is not known here: {ELSEWHERE}")
    return f"{block}{names[inner]}.{kind}"


def _interleaved(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """llama.cpp rotates neighbours in a head, transformers its two halves."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _add(writer: Any, name: str, values: np.ndarray[Any, Any], kind: str) -> None:
    """One tensor; vectors stay float32, as llama.cpp wants them."""
    package = gguf()
    if kind == "f32" or values.ndim == 1:
        writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
    elif kind == "f16" or values.shape[-1] % BLOCK:
        writer.add_tensor(name, values.astype(np.float16))
    else:
        packed = package.quants.quantize(values, package.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=package.GGMLQuantizationType.Q8_0)
