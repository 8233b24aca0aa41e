"""What a client is told when it gets no answer: a status and an error in OpenAI's shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
"""OpenAI's word for a status; "invalid_request_error" for all others."""
RETRYABLE = (408, 429, 503)
"""The same request may be answered later: clients that retry by themselves do."""


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
        return {**self.headers, "retry-after": str(max(1, round(self.retry_after + 0.5)))}


def bad(message: str, param: str | None = None, code: str | None = None) -> Problem:
    """A request that can never be honoured."""
    return Problem(400, message, param, code)
