"""What a checkpoint weighs, from the headers of its safetensors files: no tensor is read.

A local directory is read here; of a repository on the hub, the hub's client fetches the headers
alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import get_safetensors_metadata, try_to_load_from_cache
from huggingface_hub.errors import NotASafetensorsRepoError

from rstitch.engine.loader import guarded
from rstitch.errors import BadModel

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
CAST = {"F64", "F32", "F16", "BF16"}
"""Types that loading turns into the one asked for; others (8-bit, packed) stay as they are."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a checkpoint, as its header describes it."""

    name: str
    dtype: str
    elements: int
    nbytes: int


def read_headers(source: str, revision: str | None = None) -> list[Tensor]:
    """Every tensor of a checkpoint. Raises BadModel for files that are missing or damaged."""
    directory = Path(source) if Path(source).is_dir() else _cached(source, revision)
    if directory is not None:
        found = files(source, directory)
        return [tensor for path in found for tensor in _header(source, path)]
    found = guarded("weights", lambda: _fetch(source, revision), source=source, revision=revision)
    return list(_described(found))


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def loaded_bytes(tensors: Iterable[Tensor], settings: Any, width: int) -> int:
    """Bytes in memory when floats take `width` bytes each; tied embeddings count once.

    A quantised checkpoint keeps the types of its files.
    """
    tensors = list(tensors)
    quantised = getattr(settings, "quantization_config", None) is not None
    text = settings.get_text_config()
    if getattr(text, "tie_word_embeddings", getattr(settings, "tie_word_embeddings", False)):
        tensors = list(_without_tied(tensors))
    return sum(
        t.elements * width if t.dtype in CAST and not quantised else t.nbytes for t in tensors
    )


def _without_tied(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Some files hold the output matrix although it is the embedding."""
    has_embedding = any(tensor.name.endswith("embed_tokens.weight") for tensor in tensors)
    for tensor in tensors:
        if not (has_embedding and tensor.name.endswith("lm_head.weight")):
            yield tensor


def files(source: str, directory: Path) -> list[Path]:
    """The files that transformers would load."""
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    index = directory / INDEX
    if not index.is_file():
        raise BadModel(f"{source} has neither {SINGLE} nor {INDEX}; copy the directory again")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise BadModel(f"{index} is damaged ({error}); copy it again") from error
    for name in names:
        if not (directory / name).is_file():
            raise BadModel(f"{source} has no {name}; copy the directory again")
    return [directory / name for name in names]


def _header(source: str, path: Path) -> list[Tensor]:
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise ValueError("its header is cut off")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes, its header says {8 + length + end}")
        return [
            _tensor(name, entry["dtype"], entry["shape"], entry["data_offsets"])
            for name, entry in entries.items()
        ]
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise BadModel(
            f"the weights of {source} are damaged ({path.name}: {error}); copy them again"
        ) from error


def _tensor(name: str, dtype: str, shape: list[int], offsets: Any) -> Tensor:
    return Tensor(name, dtype, math.prod(shape), offsets[1] - offsets[0])


def _cached(source: str, revision: str | None) -> Path | None:
    """Where the hub's cache has the weights, if they have been downloaded."""
    for name in (SINGLE, INDEX):
        found = try_to_load_from_cache(source, name, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _fetch(source: str, revision: str | None) -> Any:
    try:
        return get_safetensors_metadata(source, revision=revision)
    except NotASafetensorsRepoError:
        raise BadModel(
            f"{source} has no safetensors weights; choose a repository that has"
        ) from None


def _described(found: Any) -> Iterator[Tensor]:
    for file in found.files_metadata.values():
        for name, info in file.tensors.items():
            yield _tensor(name, info.dtype, info.shape, info.data_offsets)
