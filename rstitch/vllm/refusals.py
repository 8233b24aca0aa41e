"""What this pair could do in this process and cannot on vLLM, refused by name with the remedy."""

from __future__ import annotations

from collections.abc import Mapping

from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.policy.base import Policy
from rstitch.policy.registry import is_known
from rstitch.types import SHIFTS, Side
from rstitch.vllm.judge import READABLE
from rstitch.vllm.report import Layout
from rstitch.vllm.side import VllmSide

ELSEWHERE = "load the pair with engine 'torch'"


def check(request: Request, sides: Mapping[Side, VllmSide]) -> None:
    """Raise BadRequest."""
    _check_policy(request.policy, sides)
    Layout.of(request.policy, 0, 0, request.top_logprobs)
    for name in SHIFTS:
        if getattr(request.sampling, name):
            raise BadRequest(
                f"{name} is {getattr(request.sampling, name)!r}; vLLM would apply it before "
                f"entropies are read: leave it out, or {ELSEWHERE}"
            )


def _check_policy(policy: Policy, sides: Mapping[Side, VllmSide]) -> None:
    """Refuse what a worker would not find, or would find otherwise."""
    for name in policy.reads:
        if name not in READABLE:
            raise BadRequest(
                f"policy {policy.name!r} reads {name!r}, which a vLLM worker cannot tell; choose "
                f"another policy, or {ELSEWHERE}"
            )
    if not is_known(policy.name):
        raise BadRequest(
            f"policy {policy.name!r} comes from a file; vLLM's workers know the built-in and the "
            f"installed ones: install it (docs/policies.md), or {ELSEWHERE}"
        )
    if type(make(**policy.spec())) is not type(policy):
        own = f"{type(policy).__module__}.{type(policy).__qualname__}"
        raise BadRequest(
            f"policy {policy.name!r} is of the class {own}, which vLLM's workers would not know by "
            f"that name: install it under another (docs/policies.md), or {ELSEWHERE}"
        )
    _check_hearing(policy, sides)
    parted = [side.name for side in policy.sides() if sides[side].workers > 1]
    if parted and "elapsed" in policy.reads and getattr(policy, "deadline", 0) is not None:
        raise BadRequest(
            f"policy {policy.name!r} goes by the time, of which the {parted[0]}'s workers would "
            "each have their own: leave the deadline out, or tensor_parallel_size"
        )


def _check_hearing(policy: Policy, sides: Mapping[Side, VllmSide]) -> None:
    if "score" not in policy.reads:
        return
    for side in policy.sides():
        if side in policy.scored and sides[side].deaf:
            raise BadRequest(
                f"policy {policy.name!r} reads hidden states of the {side.name}, which its vLLM "
                f"workers do not hear, since {sides[side].deaf}"
            )
