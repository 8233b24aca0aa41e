"""The one key that is ours, `rstitch`: what a request may ask for, and what a reply says.

Its JSON Schema is at /v1/rstitch/schema. A field is only ever added; a change that old clients
would not understand raises VERSION.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rstitch.server.fields import Fields, Whole
from rstitch.types import Token, Usage

VERSION = 1
LEAST = -9999.0
"""Log-probability of what is impossible: JSON has no infinity, and OpenAI writes this."""

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_-]*$", max_length=64)]


Number = Annotated[float | int, Field(ge=-1e6, le=1e6)]
"""No more than a policy's state, which is float32, and its own limits can have a use for."""


class Rule(BaseModel):
    """A policy with its parameters, which are numbers: `{"name": "window", "window": 4}`."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Number | None] = Field(init=False)

    name: Name

    @property
    def params(self) -> dict[str, int | float]:
        found = self.__pydantic_extra__ or {}
        return {name: value for name, value in found.items() if value is not None}


class Asked(Fields):
    """`rstitch` in a request."""

    version: Literal[1] | None = None
    tau: Annotated[float, Field(ge=-1, le=2)] | None = None
    """Entropy threshold; below 0 the LLM writes alone, from 1 on the SLM."""
    policy: Name | Rule | None = None
    """Who writes the next token: the name of a rule, or an object of its name and parameters."""
    max_llm_share: Share | None = None
    """Ceiling on the LLM's share of the answer."""
    max_llm_tokens: Annotated[Whole, Field(ge=0, lt=2**31)] | None = None
    """Ceiling on the LLM's tokens."""
    deadline: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Seconds in which the answer should be written."""
    provenance: bool | None = None
    """Every token with its side, entropy and decision."""


class Told(BaseModel):
    """A token that was read, as `rstitch.tokens` of a chunk and of a choice has it."""

    position: int
    """In the answer, from 0."""
    id: int
    """In the vocabulary of its side."""
    text: str
    """What it completed; empty while that is undecided."""
    side: Literal["slm", "llm"]
    entropy: float
    """Normalised, 0 to 1."""
    keep: bool
    """False: discarded, it is not in the answer."""
    next: Literal["slm", "llm"]
    """Who is asked next."""
    logprob: float
    seconds: float
    """Since the request was accepted."""


class Summary(BaseModel):
    """`rstitch` in a reply, and in the last chunk of a stream."""

    model_config = ConfigDict(protected_namespaces=())

    version: Literal[1]
    tau: float | None
    """Of the policy, where it has one."""
    policy: str
    slm_tokens: int
    llm_tokens: int
    llm_share: float
    discards: int
    handoffs: int
    catchup_tokens: int
    seconds: float
    """From accepted by the engine to the last token."""
    queue_seconds: float
    """Waited before that."""
    degraded: bool
    """The LLM was lost: the SLM wrote alone from there on."""


def told(events: Sequence[Token]) -> list[dict[str, Any]]:
    return [
        {
            "position": event.proposal.position,
            "id": event.proposal.token,
            "text": event.text,
            "side": event.proposal.side.label,
            "entropy": event.proposal.entropy,
            "keep": event.proposal.keep,
            "next": event.proposal.next_side.label,
            "logprob": max(event.proposal.logprob, LEAST),
            "seconds": event.seconds,
        }
        for event in events
    ]


def summary(
    usages: Sequence[Usage], policy: str, tau: float | None, queued: float
) -> dict[str, Any]:
    """Of all answers to a request together."""
    slm, llm = (sum(getattr(u, f"{side}_tokens") for u in usages) for side in ("slm", "llm"))
    return {
        "version": VERSION,
        "tau": tau,
        "policy": policy,
        "slm_tokens": slm,
        "llm_tokens": llm,
        "llm_share": llm / (slm + llm) if slm + llm else 0.0,
        "discards": sum(u.discards for u in usages),
        "handoffs": sum(u.handoffs for u in usages),
        "catchup_tokens": sum(u.catchup_tokens for u in usages),
        "seconds": max((u.seconds for u in usages), default=0.0),
        "queue_seconds": queued,
        "degraded": any(u.degraded for u in usages),
    }


def schema() -> dict[str, Any]:
    """JSON Schema of what a request may say, with that of replies and tokens beside it."""
    parts: dict[str, type[BaseModel]] = {"request": Asked, "reply": Summary, "token": Told}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "version": VERSION,
        **{name: kind.model_json_schema() for name, kind in parts.items()},
    }
