"""The OpenAPI document. Bodies are parsed by hand, for refusals in words, so they are told of by
hand too, from the classes that they are parsed into."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.extra import Summary

REF = "#/components/schemas/"
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "A chunk as JSON, or [DONE]"}},
}
"""One of a stream."""


class Detail(BaseModel):
    message: str
    type: str
    param: str | None
    """The field that is wrong."""
    code: str | None


class Error(BaseModel):
    """OpenAI's shape."""

    error: Detail


class Reply(BaseModel):
    """What chat and completions share."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    rstitch: Summary


class ChatReply(Reply):
    object: Literal["chat.completion"]


class CompletionReply(Reply):
    object: Literal["text_completion"]


COMPONENTS = (Chat, Completion, ChatReply, CompletionReply, Error)
WRONG = {
    400: "The request is wrong; the error says where",
    401: "No API key, or one that is not known",
    404: "There is none of that name",
    408: "It took longer than a request may",
    413: "The body is too long",
    415: "The body is compressed, or a page does not call it JSON",
    429: "No room, or a quota is used up; try again after retry-after seconds",
    503: "Shutting down, out of memory, or a side is lost; try again",
}


def writing(kind: type[Chat] | type[Completion], summary: str) -> dict[str, Any]:
    """For a route that writes: what it takes and gives."""
    reply = ChatReply if kind is Chat else CompletionReply
    given = {
        "application/json": {"schema": {"$ref": f"{REF}{reply.__name__}"}},
        "text/event-stream": {"schema": EVENT},
    }
    body = {"application/json": {"schema": {"$ref": f"{REF}{kind.__name__}"}}}
    return {
        "summary": summary,
        "response_class": Response,
        "openapi_extra": {"requestBody": {"required": True, "content": body}},
        "responses": {200: {"description": "Written", "content": given}, **wrong(*WRONG)},
    }


def wrong(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    content = {"application/json": {"schema": {"$ref": f"{REF}Error"}}}
    return {one: {"description": WRONG[one], "content": content} for one in statuses}


def install(app: FastAPI) -> None:
    """Have the application tell all of it at /openapi.json."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, parts = models_json_schema(
                [(one, "validation") for one in COMPONENTS], ref_template=f"{REF}{{model}}"
            )
            found.setdefault("components", {}).setdefault("schemas", {}).update(parts["$defs"])
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation says to
