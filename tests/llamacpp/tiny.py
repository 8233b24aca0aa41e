"""The tiny pair of `tests.pair` as GGUF files of several kinds, made once per test run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from rstitch.types import Side
from tests.llamacpp.random_pair import directory
from tests.pair import Pair, pair

from rstitch.llamacpp import convert  # isort: skip  # after random_pair, which may skip


@cache
def files(kind: str = "f32") -> Pair:
    return Pair(*(_written(side, kind, "") for side in Side))


@cache
def foreign(kind: str = "f32") -> Pair:
    """As others make them: no tokenizer.json inside, so that llama.cpp's own tokenizer reads."""
    with _without_json():
        return Pair(*(_written(side, kind, "-foreign") for side in Side))


def _written(side: Side, kind: str, mark: str) -> Path:
    source = pair().llm if side is Side.LLM else pair().slm
    target = directory() / f"tiny-{side.label}-{kind}{mark}.gguf"
    convert.convert(str(source), target, kind)
    return target


@contextmanager
def _without_json() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convert, "JSON", "tests.tokenizer")
        patch.setattr(convert, "PRETOKENIZERS", {"qwen2": "gpt-2"})
        yield
