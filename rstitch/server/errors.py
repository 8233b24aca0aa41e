"""What a client is told when it gets no answer: a status and an error in OpenAI's shape."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from rstitch.errors import BadPair, BadPolicy, BadRequest, Closed, OutOfMemory, SideLost
from rstitch.server.refusal import Reason, Refused

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
"""OpenAI's word for a status; "invalid_request_error" for all others."""
REFUSED: dict[Reason, int] = {
    "key": 401,
    "concurrency": 429,
    "quota": 429,
    "too_large": 400,
    "queue_full": 429,
    "draining": 503,
    "invalid": 400,
}
SHUTTING_DOWN = "the server is shutting down; ask another one, or later"
WARMING = "the server is warming up"


@dataclass(eq=False)
class Problem(Exception):
    """Raised wherever a request is judged; one place makes a response of it."""

    status: int
    message: str
    param: str | None = None
    """The field that is wrong."""
    code: str | None = None
    """A word for programs."""
    retry_after: float | None = None
    """Seconds."""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": TYPES.get(self.status, "invalid_request_error"),
                "param": self.param,
                "code": self.code,
            }
        }

    def all_headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return self.headers
        return {**self.headers, "retry-after": str(max(1, math.ceil(self.retry_after)))}


def bad(message: str, param: str | None = None, code: str = "bad_value") -> Problem:
    """A request that can never be honoured."""
    return Problem(400, message, param, code)


def problem_of(error: Exception) -> Problem:
    """What a client is told of it. What nobody foresaw is told by its type alone."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Refused):
        headers = {"www-authenticate": "Bearer"} if error.reason == "key" else {}
        return Problem(
            REFUSED[error.reason], str(error), None, error.reason, error.retry_after, headers
        )
    if isinstance(error, Closed):  # it waited for its turn while the server ended
        return Problem(503, SHUTTING_DOWN, code="unavailable", retry_after=1)
    if isinstance(error, BadRequest | BadPair | BadPolicy):
        return bad(str(error))
    if isinstance(error, OutOfMemory | SideLost):
        word = "out_of_memory" if isinstance(error, OutOfMemory) else "side_lost"
        return Problem(503, str(error), None, word, retry_after=1)
    return Problem(500, f"the answer failed: {type(error).__name__}")
