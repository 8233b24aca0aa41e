"""What the hub said no to, as one line with the remedy.

transformers wraps the hub's errors in its own, of several lines; the cause that tells what happened
is found in the chain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from huggingface_hub import errors


def explain(source: str, revision: str | None, error: BaseException) -> str | None:
    """One line about a failure to get something of `source` from the hub; None if it is another."""
    causes = list(_chain(error))

    def among(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if among(errors.GatedRepoError):
        return (
            f"{source} is gated on the hub; accept its terms on its page there, then log in with "
            "`hf auth login` or set HF_TOKEN"
        )
    if among(errors.RevisionNotFoundError):
        return f"{source} has no revision {revision!r} on the hub; name a branch, tag or commit"
    if among(errors.RepositoryNotFoundError, errors.HFValidationError):
        return (
            f"{source} is no directory and no repository on the hub; check the spelling, or log in "
            "with `hf auth login` if it is private"
        )
    offline = (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError)
    if among(*offline) or any(map(_is_transport, causes)):
        return _unreachable(source)
    return None


def _is_transport(cause: BaseException) -> bool:
    """A failure below HTTP, of whichever client library the hub's own uses."""
    return any(kind.__name__ == "TransportError" for kind in type(cause).__mro__)


def _unreachable(source: str) -> str:
    switched_off = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    why = "the hub is switched off here (HF_HUB_OFFLINE)" if switched_off else "no hub in reach"
    return (
        f"{source} is no directory, and as a hub id it cannot be loaded: {why} and it is not in "
        f"the cache; `hf download {source}` where there is a network, or give a directory"
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
