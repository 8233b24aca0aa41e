"""Tokens that a model's files name, and those that transformers makes up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstitch.engine.declared import declared, made_up
from rstitch.engine.loader import read_files
from tests import wild

ADDED = {"<eos>": 3, "<user>": 4, "<pad>": 5}
EVERY = {"a": 0, "b": 1, "ab": 2, **ADDED}


def write(directory: Path, **files: Any) -> str:
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return str(directory)


def test_names_from_every_file_but_not_from_templates(tmp_path: Path) -> None:
    config = {
        "eos_token": "<eos>",
        "added_tokens_decoder": {"4": {"content": "<user>"}},
        "chat_template": "<pad>",
    }
    tokens = {"added_tokens": [{"content": "<more>"}]}
    source = write(tmp_path, tokenizer_config=config, tokenizer=tokens)
    found = declared(source, None, ADDED)
    assert found is not None and {"<eos>", "<user>", "<more>"} <= found and "<pad>" not in found
    without = declared(source, None, ["<eos>", "<user>"])
    assert without is not None and "<more>" not in without, "tokenizer.json was read for nothing"


def test_without_a_tokenizer_json_nothing_is_known(tmp_path: Path) -> None:
    assert declared(write(tmp_path, tokenizer_config={}), None, ADDED) is None


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (frozenset({"<eos>", "<user>"}), {"<pad>"}),
        (frozenset(ADDED), set()),
        (frozenset({"<eos>", "<pad>"}), set()),  # an id among the others is no afterthought
        (None, set()),
    ],
)
def test_a_token_after_all_others_that_no_file_names(
    named: frozenset[str] | None, expected: set[str]
) -> None:
    assert made_up(EVERY, ADDED, named) == expected


def test_the_end_of_text_that_transformers_gives_a_model_of_type_qwen2() -> None:
    """It used to count as a token, to be drawn, and as the partner of Qwen's."""
    files = read_files(str(wild.pair().slm))
    assert wild.END in files.tokenizer.get_vocab()
    assert wild.END not in files.vocabulary.added
    assert files.vocabulary.size == len(files.tokenizer) - 1
    assert files.vocabulary.ends == {files.vocabulary.added[wild.R1_END]}
