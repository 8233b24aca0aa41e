"""Which tokens a model's own files name.

transformers gives some tokenizers tokens of its own making: a DeepSeek-R1 distillation, being of
type qwen2, gets Qwen's `<|endoftext|>` with an id that its model was never trained on. Such a token
must neither be drawn nor taken for the partner of a real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transformers.utils.hub import cached_file

FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def declared(source: str, revision: str | None, added: Iterable[str]) -> frozenset[str] | None:
    """Names of added tokens in the tokenizer's files; None where there is no tokenizer.json.

    That file is megabytes long, so it is left alone if the others name all of `added`.
    """
    names = {text for file in FILES for text in _strings(_read(source, file, revision))}
    if names.issuperset(added):
        return frozenset(names)
    content = _read(source, "tokenizer.json", revision)
    if content is None:
        return None
    return frozenset(names.union(token["content"] for token in content.get("added_tokens") or ()))


def made_up(
    vocabulary: Mapping[str, int], added: Mapping[str, int], declared: frozenset[str] | None
) -> frozenset[str]:
    """Added tokens that no file names; they come after all others."""
    if declared is None:
        return frozenset()
    found = frozenset(token for token in added if token not in declared)
    real = len(vocabulary) - len(found)
    return found if all(added[token] >= real for token in found) else frozenset()


def _read(source: str, name: str, revision: str | None) -> Any:
    path = cached_file(
        source, name, revision=revision, _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )  # fmt: skip
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _strings(content: Any) -> Iterator[str]:
    """Every text in a JSON document, keys included, templates not."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for item in content:
            yield from _strings(item)
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            if key != "chat_template":
                yield from _strings(value)
