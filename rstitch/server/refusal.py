"""Why a request is not let in: a reason that metrics count by, and when to come back."""

from __future__ import annotations

from typing import Literal, get_args

from rstitch.errors import RStitchError

Reason = Literal["key", "concurrency", "quota", "too_large", "queue_full", "draining", "invalid"]
"""key: none, or one that is not known. concurrency, quota: the key's. too_large: more than the key
may ever ask for. invalid: everything that is wrong with the request itself."""
REASONS: tuple[Reason, ...] = get_args(Reason)


class Refused(RStitchError):
    """A request that may not enter."""

    def __init__(self, reason: Reason, message: str, retry_after: float | None = None) -> None:
        """retry_after: seconds; None where trying again would not help."""
        super().__init__(message)
        self.reason: Reason = reason
        self.retry_after = retry_after
