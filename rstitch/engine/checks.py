"""What can never be served is refused when it is asked, by name and with the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Protocol

from rstitch.engine.marks import Marks
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy.base import Policy
from rstitch.text import Tokenizer
from rstitch.types import Side


class Sized(Protocol):
    @property
    def vocab_size(self) -> int:
        """Tokens that the tokenizer really has."""
        ...


class Room(Protocol):
    """Which sides there are, and what they hold."""

    @property
    def runners(self) -> Mapping[Side, Sized]: ...

    def check(self, side: Side, prompt: tuple[int, ...]) -> None:
        """Raise BadRequest, with the numbers, for a prompt that could never get its first token."""
        ...


def check(
    request: Request,
    tokenizers: Mapping[Side, Tokenizer | None],
    rows: Room,
    marks: Marks | None,
) -> None:
    """Raise BadRequest for a request that this pair can never serve."""
    _check_counts(request)
    sides = request.policy.sides()
    if "" in request.stop:
        raise BadRequest("a stop string is empty; give at least one character")
    for side in sides:
        if side not in rows.runners:
            name = request.policy.name
            raise BadRequest(f"policy {name!r} needs the {side.name}, which is not loaded")
        _check_prompt(side, request.prompts.get(side, ()), rows)
    if request.stop and None in [tokenizers[side] for side in sides]:
        raise BadRequest("stop strings need an engine with a tokenizer; use stop_token_ids")
    if not isinstance(request.reuse, str | None):
        raise BadRequest(f"reuse is {request.reuse!r}; it must be a name, or None for no reuse")
    _check_reads(request.policy, marks)
    _check_bias(request, rows)


def _check_counts(request: Request) -> None:
    for name, least in (("max_tokens", 1), ("n", 1), ("top_logprobs", 0)):
        value = getattr(request, name)
        if not isinstance(value, Integral):
            raise BadRequest(f"{name} is {value!r}; it must be a whole number")
        if value < least:
            raise BadRequest(f"{name} is {value}; it must be at least {least}")


def _check_prompt(side: Side, prompt: tuple[int, ...], rows: Room) -> None:
    if not prompt:
        raise BadRequest(f"the {side.name}'s prompt is empty; give at least one token")
    rows.check(side, prompt)
    size = rows.runners[side].vocab_size
    worst = max(prompt, key=lambda token: token if token >= 0 else size - token)
    if not 0 <= worst < size:
        raise BadRequest(f"token id {worst} is outside the {side.name}'s vocabulary of {size}")


def _check_bias(request: Request, rows: Room) -> None:
    side = max(request.policy.sides())
    size = rows.runners[side].vocab_size
    for token, _ in request.sampling.logit_bias:
        if token >= size:
            raise BadRequest(
                f"logit_bias names token {token}; the {side.name}'s vocabulary has {size}"
            )


def _check_reads(policy: Policy, marks: Marks | None) -> None:
    """Refuse a policy that reads what this pair does not have."""
    sides = policy.sides()
    if "phase" in policy.reads and not (marks and all(side in marks.think for side in sides)):
        raise BadRequest(
            f"policy {policy.name!r} reads the phase, but this pair's tokenizer has no "
            "<think> and </think>; choose one that does not"
        )
    if "boundary" in policy.reads and not (marks and marks.tokenizers):
        raise BadRequest(f"policy {policy.name!r} reads boundaries; that needs a tokenizer")
