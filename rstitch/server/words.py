"""Single tokens as text and bytes, for log-probabilities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from rstitch.types import Side

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Words:
    """Of one pair; each token is looked at once."""

    def __init__(self, tokenizers: Mapping[Side, Any]) -> None:
        self._tokenizers = tokenizers
        self._found: dict[tuple[Side, int], tuple[str, list[int]]] = {}

    def of(self, side: Side, token: int) -> tuple[str, list[int]]:
        """Text and UTF-8 bytes; bytes that are no character by themselves read "bytes:\\xe2"."""
        key = side, token
        if key not in self._found:
            data = _bytes(self._tokenizers[side], token)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                text = "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
            self._found[key] = text, list(data)
        return self._found[key]


def _bytes(tokenizer: Any, token: int) -> bytes:
    """As the tokenizer's alphabet writes them: byte-level BPE, or SentencePiece with bytes."""
    word = str(tokenizer.convert_ids_to_tokens(token))
    if token in tokenizer.added_tokens_decoder:
        return word.encode()
    if "ByteLevel" in type(tokenizer.backend_tokenizer.decoder).__name__:
        letters = _letters()
        return b"".join(letters.get(letter, letter.encode()) for letter in word)
    found = _BYTE.fullmatch(word)
    return bytes([int(found[1], 16)]) if found else word.replace("\u2581", " ").encode()


@cache
def _letters() -> dict[str, bytes]:
    """The printable letter that stands for each byte in byte-level BPE."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    shifted = {chr(256 + i): bytes([byte]) for i, byte in enumerate(others)}
    return shifted | {chr(byte): bytes([byte]) for byte in plain}
