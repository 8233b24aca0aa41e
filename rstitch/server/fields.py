"""The fields of a request, in three published lists: honoured, without effect, refused.

A field is in a list by the class that it is written in, so the lists that `/v1/rstitch/fields` and
docs/serving.md show are those that requests are read by. Null is as good as nothing for all of
them, and so is a default value, so that clients that spell out everything are understood.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Fields(BaseModel):
    """Strict: a text is no number. What is not known may be null and nothing else."""

    model_config = ConfigDict(
        strict=True, extra="allow", protected_namespaces=(), allow_inf_nan=False
    )
    __pydantic_extra__: dict[str, None] = Field(init=False)


class Only:
    """For a field that is refused but for these values, which do nothing."""

    def __init__(self, *values: Any, why: str = "it is not supported") -> None:
        self.values, self.why = values, why

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"enum": [None, *self.values], "description": f"Refused otherwise: {self.why}."}

    def _check(self, value: Any) -> None:
        if value is None or any(_same(value, one) for one in self.values):
            return
        raise PydanticCustomError("refused", "leave it out: {why}", {"why": self.why})


def _same(value: Any, other: Any) -> bool:
    """Equal as JSON is: a truth value is no number."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
"""JSON has one kind of number, and to its schemas 16.0 is an integer; some clients write that."""
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,8})$")]
Text = Annotated[str, Field(min_length=1, max_length=256)]


class StreamOptions(Fields):
    include_usage: bool | None = None
    """A last chunk with the usage of the whole request."""
    include_obfuscation: Annotated[Any, Only(False)] = None


class Shared(Fields):
    """Honoured by chat and completions alike."""

    model: str | None = None
    """A name of /v1/models; the stitched pair if left out."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[Whole, Field(ge=1, le=128)] | None = None
    """Answers to write."""
    stop: Annotated[list[Text], Field(max_length=16)] | Text | None = None
    """Texts that end the answer and do not become part of it."""
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    """Same seed, same tokens."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """0 is greedy; the pair's own if left out."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """The pair's own if left out."""
    top_k: Annotated[Whole, Field(ge=-1, lt=2**31)] | None = None
    """0 and -1 keep all; the pair's own if left out."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """The pair's own if left out."""
    presence_penalty: Penalty | None = None
    """Taken from the logits of tokens that the answer has; the pair's own if left out."""
    frequency_penalty: Penalty | None = None
    """The same for each time that the answer has the token; the pair's own if left out."""
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] | None = None
    """Added to the logits of these tokens, by the LLM's ids (the SLM's where it is alone)."""
    max_tokens: Annotated[Whole, Field(ge=1, lt=2**31)] | None = None
    """Of the answer; fewer where the context holds no more."""


class Ignored(Fields):
    """Accepted, and named in the header x-rstitch-ignored: the answer cannot differ."""

    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None


class Refused(Fields):
    """Refused but for the values that do nothing."""

    repetition_penalty: Annotated[Any, Only(1)] = None
    length_penalty: Annotated[Any, Only(1)] = None
    min_tokens: Annotated[Any, Only(0)] = None
    ignore_eos: Annotated[Any, Only(False)] = None
    stop_token_ids: Annotated[Any, Only([])] = None
    include_stop_str_in_output: Annotated[Any, Only(False)] = None
    skip_special_tokens: Annotated[Any, Only(True)] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    prediction: Annotated[Any, Only()] = None
