"""From what a user asks to token ids, for each side by its own template and with its own suffix.

Some models want a word of their own (L1 takes a length instruction) that the other side must not
see. Both continue one answer, though: where one template opens the thinking and the other leaves
that to its model, the block is opened for both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from rstitch.errors import BadRequest
from rstitch.text import Tokenizer
from rstitch.types import Side

Messages = Sequence[Mapping[str, str]]
Prompt = str | Sequence[dict[str, str]]
"""A user message, or a list of chat messages {"role": ..., "content": ...}."""

OPEN = "<think>"


def render(
    prompt: Prompt,
    sides: Mapping[Side, tuple[str, Any]],
    suffixes: Mapping[Side, str],
) -> dict[Side, tuple[int, ...]]:
    """Ids per side through the chat templates; sides are (source, tokenizer).

    Raises BadRequest for an empty prompt, or messages that a template refuses.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if not any(str(message.get("content", "")).strip() for message in messages):
        raise BadRequest("the prompt is empty; say what should be answered")
    texts = {
        side: apply_template(*named, with_suffix(messages, suffixes.get(side, "")))
        for side, named in sides.items()
    }
    opening = next((found for found in map(opened, texts.values()) if found), "")
    return {
        side: _encode(sides[side][1], text if opened(text) else text + opening)
        for side, text in texts.items()
    }


def render_raw(
    prompt: Prompt, sides: Mapping[Side, tuple[str, Any]]
) -> dict[Side, tuple[int, ...]]:
    """Ids per side of a text that is fed as it is."""
    if not isinstance(prompt, str):
        raise BadRequest("a raw prompt is plain text, not a list of messages")
    return {side: tuple(tokenizer.encode(prompt)) for side, (_, tokenizer) in sides.items()}


def apply_template(source: str, tokenizer: Any, messages: Messages) -> str:
    """The text that the model's own chat template makes of the messages."""
    if not tokenizer.chat_template:
        raise BadRequest(f"{source} has no chat template; pass raw=True (--raw) for plain text")
    try:
        return str(
            tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        )
    except TemplateError as error:
        raise BadRequest(f"{source}'s chat template refuses the messages: {error}") from error


def with_suffix(messages: Messages, suffix: str) -> Messages:
    """The messages with the suffix at the end of the last one of the user."""
    if not suffix:
        return messages
    at = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=None)
    if at is None:
        raise BadRequest(f"the suffix {suffix!r} needs a user message to follow; there is none")
    gap = "" if suffix[0].isspace() else " "
    changed = {**messages[at], "content": messages[at]["content"] + gap + suffix}
    return [*messages[:at], changed, *messages[at + 1 :]]


def opened(text: str) -> str:
    """The end of a prompt that opens a thinking block, white space included; "" without one."""
    stripped = text.rstrip()
    return text[len(stripped) - len(OPEN) :] if stripped.endswith(OPEN) else ""


def starts_thinking(
    decoders: Mapping[Side, Tokenizer], prompts: Mapping[Side, Sequence[int]]
) -> bool:
    """Whether any of the prompts, as ids, ends inside a thinking block just opened."""
    return any(
        opened(decoders[side].decode(list(ids[-8:]), skip_special_tokens=False))
        for side, ids in prompts.items()
    )


def _encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))
