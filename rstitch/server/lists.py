"""The three published lists of fields, from the classes that requests are read by."""

from __future__ import annotations

from rstitch.server.chat import ChatHonoured, ChatRefused
from rstitch.server.completions import CompletionHonoured, CompletionRefused
from rstitch.server.fields import Fields, Ignored

KINDS: dict[str, dict[str, type[Fields]]] = {
    "chat": {"honoured": ChatHonoured, "ignored": Ignored, "refused": ChatRefused},
    "completions": {
        "honoured": CompletionHonoured, "ignored": Ignored, "refused": CompletionRefused
    },
}  # fmt: skip


def published() -> dict[str, dict[str, list[str]]]:
    """From the route and the list to names."""
    return {
        route: {name: list(kind.model_fields) for name, kind in found.items()}
        for route, found in KINDS.items()
    }
