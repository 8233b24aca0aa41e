"""A body is read as far as it is allowed to be long, and thrown away for a while after that: the
system breaks a connection that is closed with bytes unread, and its client would see no answer."""

from __future__ import annotations

from fastapi import Request

from rstitch.server import media
from rstitch.server.errors import Problem

SPARED = 16 * 2**20
"""Bytes that are thrown away at most."""


async def read(http: Request, most: int) -> bytes:
    """The body. Raises Problem: 415 for what is no plain JSON, 413 for more than `most` bytes, at
    once where its client waits for a word before it sends them."""
    media.check(http.headers)
    told, seen, found = _told(http), 0, bytearray()
    if told > most and ("expect" in http.headers or told > most + SPARED):
        raise _too_long(most)
    async for piece in http.stream():
        seen += len(piece)
        if max(seen, told) <= most:
            found += piece
        elif seen > most + SPARED:
            break
    if max(seen, told) > most:
        raise _too_long(most)
    return bytes(found)


def _told(http: Request) -> int:
    """Bytes that it says it has; 0 where it says nothing."""
    told = http.headers.get("content-length", "")
    return int(told[:20]) if told.isascii() and told.isdigit() else 0


def _too_long(most: int) -> Problem:
    told = f"the body is longer than {most} bytes; send a shorter one"
    return Problem(413, told, code="too_large", headers={"connection": "close"})
