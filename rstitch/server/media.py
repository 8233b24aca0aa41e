"""What a body may come as: JSON as it is.

Command lines send JSON under any name, and may. A page in a browser may not: under another name
than application/json it could have a server on this machine write for it, unasked (CORS).
"""

from __future__ import annotations

from collections.abc import Mapping

from rstitch.server.errors import Problem

JSON = "application/json"
SHOWN = 60
"""Characters of a header that are repeated."""


def check(headers: Mapping[str, str]) -> None:
    """Raises Problem (415)."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        told = f"content-encoding is {coding[:SHOWN]!r}; send the body as it is"
        raise Problem(415, told, code="media")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON and "origin" in headers:
        told = f"content-type is {kind[:SHOWN]!r}; from a page it must be {JSON}"
        raise Problem(415, told, code="media")
