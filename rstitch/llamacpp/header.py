"""What a GGUF file says about itself: metadata and tensors, read and checked without llama.cpp.

llama.cpp ends the process on some damaged files, so a file is looked through before it gets there:
every length must lie inside the file, every tensor too.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rstitch.errors import BadModel
from rstitch.llamacpp.library import gguf

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""GGUF's types of numbers, as `struct` names them."""
SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
ALIGNMENT = 32
MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file; `shape` as GGUF writes it, the row length first."""

    name: str
    type: str
    """Such as F32 or Q4_K."""
    shape: tuple[int, ...]
    nbytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata of a model and the tensors of all its files."""

    source: str
    values: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]

    @property
    def architecture(self) -> str:
        return str(self.text("general.architecture"))

    def text(self, key: str, default: str | None = None) -> str:
        """A string that has to be there, unless there is a default."""
        return str(self._typed(key, str, default))

    def number(self, key: str, default: int | None = None) -> int:
        """An integer that has to be there, unless there is a default."""
        found = self._typed(key, int, default)
        assert isinstance(found, int)
        return found

    def list(self, key: str) -> list[Any]:
        """An array; empty where there is none."""
        found = self._typed(key, list, [])
        assert isinstance(found, list)
        return found

    def of_model(self, key: str, default: int | None = None) -> int:
        """A number under the name of the architecture, such as llama.context_length."""
        return self.number(f"{self.architecture}.{key}", default)

    @property
    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors)

    def _typed(self, key: str, kind: type, default: object) -> object:
        value = self.values.get(key, default)
        if isinstance(value, kind):
            return value
        said = "is missing" if value is None else f"is {str(value)[:40]!r}, no {kind.__name__}"
        raise BadModel(
            f"{self.source} is no whole model: {key} {said} in its metadata; get it again"
        )


def read(path: Path, source: str | None = None) -> Header:
    """The header of a file, and of its further shards. Raises BadModel for what is not whole."""
    source = source or str(path)
    first = _read_one(path, source)
    tensors = list(first.tensors)
    for shard in shards(path)[1:]:
        if not shard.is_file():
            raise BadModel(f"{source} has no shard {shard.name} beside it; get all of its files")
        tensors += _read_one(shard, source).tensors
    if not tensors:
        raise BadModel(f"{source} holds no weights, only a vocabulary; choose a whole model")
    return Header(source, first.values, tuple(tensors))


def shards(path: Path) -> list[Path]:
    """All files of a model of which this is the first, or the only one."""
    found = SHARD.search(path.name)
    if found is None or found[1] != "00001":
        return [path]
    stem = path.name[: found.start()]
    return [
        path.with_name(f"{stem}-{i:05}-of-{found[2]}.gguf") for i in range(1, int(found[2]) + 1)
    ]


def _read_one(path: Path, source: str) -> Header:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, source).header()
    except (OSError, ValueError) as error:  # of an empty file too
        raise BadModel(f"{path} cannot be read as GGUF: {error}; get it again") from error
    except (struct.error, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise BadModel(f"{path} is damaged or cut off ({error}); get it again") from error


class _Reader:
    """A cursor over one file."""

    def __init__(self, data: mmap.mmap, source: str) -> None:
        self.data, self.source, self.at = data, source, 0

    def header(self) -> Header:
        if self.data[:4] != MAGIC:
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        version, tensors, pairs = self.take("IQQ")
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}, known are 2 and 3 in little-endian order")
        values = {}
        for _ in range(pairs):
            key = self.string()
            values[key] = self.value(*self.take("I"))
        infos = [self.tensor() for _ in range(tensors)]
        alignment = values.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"its alignment is {alignment!r}")
        start = -(-self.at // alignment) * alignment
        for info, offset in infos:
            if offset % alignment:
                raise ValueError(f"{info.name} does not lie at a multiple of {alignment}")
            if start + offset + info.nbytes > len(self.data):
                raise ValueError(
                    f"{info.name} ends at byte {start + offset + info.nbytes:,}, the file at "
                    f"{len(self.data):,}: it is cut off"
                )
        return Header(self.source, values, tuple(info for info, _ in infos))

    def take(self, form: str) -> tuple[Any, ...]:
        form = "<" + form
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def string(self) -> str:
        (length,) = self.take("Q")
        if self.at + length > len(self.data):
            raise ValueError(f"a text of {length:,} bytes does not fit: it is cut off")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.take("IQ")
            if count > len(self.data):
                raise ValueError(f"an array of {count:,} items does not fit: it is cut off")
            if inner in NUMBERS:
                return list(self.take(f"{count}{NUMBERS[inner]}"))
            return [self.value(inner) for _ in range(count)]
        if kind not in NUMBERS:
            raise ValueError(f"a value is of the unknown type {kind}")
        return self.take(NUMBERS[kind])[0]

    def tensor(self) -> tuple[TensorInfo, int]:
        name = self.string()
        (count,) = self.take("I")
        if not 1 <= count <= MOST_DIMENSIONS:
            raise ValueError(f"{name} has {count} dimensions")
        *shape, kind, offset = self.take(f"{count}QIQ")
        try:
            kind = gguf().GGMLQuantizationType(kind)
        except ValueError:
            raise ValueError(f"{name} is of the unknown type {kind}") from None
        block, size = gguf().GGML_QUANT_SIZES[kind]
        if shape[0] % block:
            raise ValueError(f"{name} has rows of {shape[0]}, no multiple of {block} ({kind.name})")
        nbytes = math.prod(shape) // block * size
        return TensorInfo(name, kind.name, tuple(shape), nbytes), offset
