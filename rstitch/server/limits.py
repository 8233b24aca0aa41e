"""A body is read as far as it is allowed to be long."""

from __future__ import annotations

from fastapi import Request

from rstitch.server import media
from rstitch.server.errors import Problem


async def read(http: Request, most: int) -> bytes:
    """The body. Raises Problem: 415 for what is no plain JSON, 413 as soon as it is known to be
    longer than `most` bytes."""
    media.check(http.headers)
    told = http.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told[:20]) > most:
        raise _too_long(most)
    found = bytearray()
    async for piece in http.stream():
        found += piece
        if len(found) > most:
            raise _too_long(most)
    return bytes(found)


def _too_long(most: int) -> Problem:
    told = f"the body is longer than {most} bytes; send a shorter one"
    return Problem(413, told, code="too_large", headers={"connection": "close"})
