"""Final hidden states in a worker, for policies that score them; vLLM shows them to no processor.

In every model of vLLM's one layer makes logits of what the head reads. A general plugin puts one of
our own in its place, by vLLM's registry of layers, in the processes that our engines start and in
no others. It remembers what it was given last: in a step exactly the rows that are sampled, in the
order in which the gate gets their logits right afterwards. Loaded in all of vLLM's processes, so
nothing heavy is imported here.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

GROUP, NAME = "vllm.general_plugins", "rstitch"
"""The plugin's entry point."""
ALLOWED = "VLLM_PLUGINS"
"""vLLM's own list of the plugins that it may load."""
ASKED = "RSTITCH_VLLM_HIDDEN"
"""Names the process whose children are to listen, in which itself nothing changes."""


class Ear:
    """Owns what the head was given last, until it is taken."""

    def __init__(self) -> None:
        self._last: Tensor | None = None

    def hear(self, hidden: Tensor) -> None:
        """hidden: (rows, width), of the model's dtype."""
        self._last = hidden

    def take(self) -> Tensor | None:
        """Once: what is left of an earlier step is nobody's."""
        last, self._last = self._last, None
        return last


EAR = Ear()
"""vLLM makes the layer and the gate apart from each other, and runs one model in a process."""


def register() -> None:
    """The plugin. Does nothing where the layer has been replaced already."""
    if os.environ.get(ASKED, "") in ("", str(os.getpid())):
        return
    from vllm.model_executor.custom_op import maybe_get_oot_by_class
    from vllm.model_executor.layers.logits_processor import LogitsProcessor

    if maybe_get_oot_by_class(LogitsProcessor) is not LogitsProcessor:
        return

    class Listening(LogitsProcessor):  # type: ignore[misc]  # vLLM is an extra
        def forward(self, lm_head: Any, hidden_states: Tensor, *rest: Any, **named: Any) -> Any:
            EAR.hear(hidden_states)
            # Not super(): LoRA's layer, which is none of these, calls this with itself.
            return LogitsProcessor.forward(self, lm_head, hidden_states, *rest, **named)

    LogitsProcessor.register_oot(Listening)


def missing(allowed: str | None) -> str:
    """Why vLLM will not load the plugin, and the remedy; empty if it will. allowed: ALLOWED."""
    if not entry_points(group=GROUP, name=NAME):
        return f"this installation has no entry point {GROUP}: install rstitch again"
    if allowed is not None and NAME not in allowed.split(","):
        return f"{ALLOWED} is {allowed!r}: add {NAME!r} to it"
    return ""
