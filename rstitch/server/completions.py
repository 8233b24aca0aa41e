"""`/v1/completions`: the fields that only completions have; prompts are fed as they are."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from rstitch.server.extra import Asked
from rstitch.server.fields import Ignored, Only, Refused, Shared, Whole

Id = Annotated[int, Field(ge=0, lt=2**31)]
Ids = Annotated[list[Id], Field(min_length=1, fail_fast=True)]
Words = Annotated[str, Field(min_length=1)]
Prompt = (
    Words
    | Ids
    | Annotated[list[Words], Field(min_length=1, max_length=64, fail_fast=True)]
    | Annotated[list[Ids], Field(min_length=1, max_length=64, fail_fast=True)]
)
"""A text, or the LLM's token ids; or several of them."""


class CompletionHonoured(Shared):
    prompt: Prompt
    """A text or the LLM's token ids, or several of them; no chat template."""
    logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    """The log-probability of every token, and so many of the likeliest beside it."""
    rstitch: Asked | None = None
    """See /v1/rstitch/schema."""


class CompletionRefused(Refused):
    echo: Annotated[Any, Only(False)] = None
    suffix: Annotated[Any, Only("")] = None
    best_of: Annotated[Any, Only(1)] = None
    prompt_embeds: Annotated[Any, Only()] = None


class Completion(CompletionHonoured, Ignored, CompletionRefused):
    """A request to /v1/completions."""

    route: ClassVar[str] = "/v1/completions"


def prompts(body: Completion) -> list[str | list[int]]:
    """One after the other."""
    given = body.prompt
    if isinstance(given, str):
        return [given]
    return [given] if isinstance(given[0], int) else list(given)
