"""A model's tokenizer as the text layer wants it, and whether two are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import decoders
from transformers import PreTrainedTokenizerFast

from rstitch.text import ByteLevel, Tokenizer


@dataclass(frozen=True, slots=True)
class _Decoder:
    """A transformers tokenizer as the text layer wants it: nothing tidied up after the fact."""

    tokenizer: Any

    def decode(self, ids: list[int], /, *, skip_special_tokens: bool) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text


def decoder(tokenizer: Any) -> Tokenizer:
    """The tokenizer behind a transformers one that adds nothing of its own: a third of the time,
    and a lookup where it is byte-level."""
    kind, plain = type(tokenizer), PreTrainedTokenizerFast
    own = any(getattr(kind, n, None) is not getattr(plain, n) for n in ("decode", "_decode"))
    if own:
        return _Decoder(tokenizer)
    core: Any = tokenizer.backend_tokenizer
    return ByteLevel(core) if isinstance(core.decoder, decoders.ByteLevel) else core


def alike(tokenizers: Sequence[Any]) -> bool:
    """Whether they make the same ids of every prompt, so that it is enough to ask one.

    The rules of a tokenizer of 150,000 tokens take 70 ms to write out, so they come last.
    """
    kinds = {(type(words), str(words.chat_template)) for words in tokenizers}
    if len(tokenizers) < 2 or len(kinds) > 1:
        return False
    if not isinstance(tokenizers[0], PreTrainedTokenizerFast):
        return False
    return len({words.backend_tokenizer.to_str() for words in tokenizers}) == 1
