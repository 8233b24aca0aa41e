"""Text to ids and back, from the metadata of a GGUF file.

Files of our own converter carry a whole tokenizer.json, which transformers reads. For all others
llama.cpp's tokenizer does it, behind the few methods of transformers' that are used here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from rstitch.errors import BadModel
from rstitch.llamacpp.header import Header
from rstitch.llamacpp.library import library

JSON = "tokenizer.huggingface.json"
TEMPLATE = "tokenizer.chat_template"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""GGUF's kinds of tokens; control and user-defined ones are what others call added."""
LONGEST_PIECE = 1024


def names(header: Header) -> tuple[list[str], list[int]]:
    """Text and kind of every token that the tokenizer really has: padding at the end is none."""
    tokens = header.list("tokenizer.ggml.tokens")
    kinds = header.list("tokenizer.ggml.token_type") or [NORMAL] * len(tokens)
    if not tokens or len(kinds) != len(tokens):
        raise BadModel(
            f"{header.source} names {len(tokens)} tokens and {len(kinds)} of their kinds; "
            "choose a file with a whole tokenizer"
        )
    real = len(tokens)
    while real and kinds[real - 1] == UNUSED:
        real -= 1
    return tokens[:real], kinds[:real]


def from_json(header: Header) -> Any:
    """transformers' tokenizer, from the tokenizer.json in the metadata."""
    try:
        core = Tokenizer.from_str(header.text(JSON))
    except Exception as error:  # tokenizers raises nothing more special
        raise BadModel(f"{header.source} has a damaged {JSON}: {error}; get it again") from error
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=_named(header, "eos"),
        bos_token=_named(header, "bos"),
        chat_template=header.text(TEMPLATE, "") or None,
    )


def _named(header: Header, role: str) -> str | None:
    tokens = header.list("tokenizer.ggml.tokens")
    index = header.values.get(f"tokenizer.ggml.{role}_token_id")
    return str(tokens[index]) if isinstance(index, int) and index < len(tokens) else None


class LlamaTokenizer:
    """llama.cpp's own, on a model that was loaded with or without weights."""

    def __init__(self, header: Header, handle: Any) -> None:
        self._api = library()
        self._handle = handle  # keeps the vocabulary alive
        self._vocabulary = self._api.llama_model_get_vocab(handle.handle)
        self.tokens, self._kinds = names(header)
        self.chat_template = header.text(TEMPLATE, "") or None
        self.eos_token, self.bos_token = _named(header, "eos"), _named(header, "bos")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids that llama.cpp takes for the end of text."""
        api, size = self._api, len(self.tokens)
        return frozenset(i for i in range(size) if api.llama_vocab_is_eog(self._vocabulary, i))

    @cached_property
    def eos_token_id(self) -> int | None:
        return self.tokens.index(self.eos_token) if self.eos_token in self.tokens else None

    def get_vocab(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    def get_added_vocab(self) -> dict[str, int]:
        kinds = zip(self.tokens, self._kinds, strict=True)
        added = (CONTROL, USER_DEFINED)
        return {token: i for i, (token, kind) in enumerate(kinds) if kind in added}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        raw = text.encode()
        size = len(raw) + 8
        room = (ctypes.c_int32 * size)()
        found = self._api.llama_tokenize(
            self._vocabulary, raw, len(raw), room, size, add_special_tokens, True
        )
        return list(room[:found])

    def decode(
        self,
        ids: Sequence[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        """Bytes that are not, or not yet, a character come out as U+FFFD."""
        pieces = self._pieces
        special = self._special if skip_special_tokens else frozenset()
        found = b"".join(pieces[i] for i in ids if i not in special)
        return found.decode("utf-8", "replace")

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(i for i, kind in enumerate(self._kinds) if kind in (CONTROL, UNKNOWN))

    @cached_property
    def _pieces(self) -> list[bytes]:
        room = ctypes.create_string_buffer(LONGEST_PIECE)
        get, words = self._api.llama_token_to_piece, self._vocabulary
        sizes = ((get(words, i, room, LONGEST_PIECE, 0, True), room) for i in range(len(self)))
        return [at.raw[: max(size, 0)] for size, at in sizes]

    def apply_chat_template(
        self,
        messages: Sequence[dict[str, str]],
        tokenize: bool = False,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of the messages by the file's own template, as transformers renders it."""
        assert not tokenize and self.chat_template
        render: Any = chat_template_utils.render_jinja_template
        texts, _ = render(
            conversations=[list(messages)],
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token or "",
            eos_token=self.eos_token or "",
        )
        return str(texts[0])
