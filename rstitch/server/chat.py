"""`/v1/chat/completions`: the fields that only chat has, and messages as templates want them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rstitch.server.extra import Asked
from rstitch.server.fields import Fields, Ignored, Only, Refused, Shared, Whole

ROLES = {"developer": "system"}
"""Roles that templates know by another name."""


class TextPart(Fields):
    type: Literal["text"]
    text: str


class Message(Fields):
    """What an assistant thought in an earlier turn, and what somebody is called, are not read:
    templates leave both out."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[Any, Only([])] = None
    annotations: Annotated[Any, Only([])] = None


class ChatHonoured(Shared):
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[Whole, Field(ge=1, lt=2**31)] | None = None
    """The same as max_tokens; where both are given, the smaller counts."""
    logprobs: bool | None = None
    """The log-probability of every token."""
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    """So many of the likeliest tokens beside each; needs logprobs."""
    rstitch: Asked | None = None
    """See /v1/rstitch/schema."""


class ChatRefused(Refused):
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    modalities: Annotated[Any, Only(["text"])] = None
    audio: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only()] = None
    verbosity: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None
    chat_template: Annotated[Any, Only()] = None
    chat_template_kwargs: Annotated[Any, Only({})] = None
    add_generation_prompt: Annotated[Any, Only(True)] = None
    continue_final_message: Annotated[Any, Only(False)] = None


class Chat(ChatHonoured, Ignored, ChatRefused):
    """A request to /v1/chat/completions."""

    route: ClassVar[str] = "/v1/chat/completions"


def messages(body: Chat) -> list[dict[str, str]]:
    """As chat templates read them; several parts of one message are lines."""
    return [
        {"role": ROLES.get(one.role, one.role), "content": _text(one.content)}
        for one in body.messages
    ]


def _text(content: str | list[TextPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.text for part in content)
