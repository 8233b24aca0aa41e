"""What lm-evaluation-harness asks of a model, in this package's words: no lm_eval needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rstitch.errors import BadRequest
from rstitch.types import Sampling

LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""Words for one thing, the first that is there counts, as in the harness."""
NUMBERS = ("temperature", "top_p", "top_k", "min_p", "seed")
KNOWN = ("until", "do_sample", *NUMBERS, *LENGTHS)


@dataclass(frozen=True, slots=True)
class Asked:
    """One `generate_until` request."""

    until: tuple[str, ...]
    sampling: Sampling
    max_tokens: int
    text: str = ""
    messages: list[dict[str, str]] | None = None
    """None where the text is fed as it is."""
    again: int = 0
    """How often the same was asked before."""

    @property
    def _asks(self) -> list[dict[str, str]]:
        """The messages up to the one that is to be answered."""
        messages = self.messages or []
        return messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages

    @property
    def words(self) -> str:
        """The user's last message, or the text."""
        if self.messages is None:
            return self.text
        asks = self._asks
        if not asks or asks[-1]["role"] != "user":
            raise BadRequest("the last message is not of the user; there is nothing to answer")
        return asks[-1]["content"]

    @property
    def history(self) -> list[dict[str, str]]:
        """Messages before that: a system prompt, examples."""
        return self._asks[:-1]

    @property
    def begun(self) -> str:
        """With what the answer begins already."""
        messages = self.messages or []
        last = messages[-1] if messages else {"role": "user", "content": ""}
        return last["content"] if last["role"] == "assistant" else ""


def asked(given: Mapping[str, Any], own: Sampling, max_tokens: int) -> Asked:
    """From `gen_kwargs`. own: the pair's sampling, where a task samples without saying how.

    Greedy unless a temperature or do_sample says otherwise, as in the harness. Raises BadRequest
    for an argument that is not known.
    """
    for key in given:
        if key not in KNOWN:
            raise BadRequest(f"gen_kwargs has {key!r}; known: {', '.join(KNOWN)}")
    numbers = {key: given[key] for key in NUMBERS if given.get(key) is not None}
    draws = given.get("do_sample", numbers.get("temperature", 0) > 0)
    if not draws:
        sampling = Sampling()
    elif "temperature" in numbers:
        sampling = Sampling(**numbers)
    else:
        base = own if own.temperature > 0 else Sampling(temperature=1.0)
        sampling = replace(base, **{"seed": None, **numbers})
    length = next((given[key] for key in LENGTHS if given.get(key) is not None), max_tokens)
    until = given.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    return Asked(tuple(stop for stop in stops if stop), sampling, int(length))
