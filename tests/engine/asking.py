"""Requests that several engine tests make, and a tokenizer of letters."""

from __future__ import annotations

from typing import Any

from rstitch.engine.request import Request
from rstitch.policy import Policy, make
from rstitch.types import Side
from tests.fakes import PROMPTS, scripted
from tests.models import (
    Answer,
    prompt,
    run,
)

SLM, LLM = Side.SLM, Side.LLM
STITCH = make("entropy", tau=0.5)
BOTH = make("random", p=1, q=1)
"""Every SLM proposal is discarded, every LLM token hands back."""


def ask(policy: Policy = STITCH, **settings: Any) -> Request:
    return Request(**{"prompts": PROMPTS, "policy": policy, "max_tokens": 20, **settings})


def one(slm: Any, llm: Any, request: Request | None = None, **settings: Any) -> Answer:
    (answer,) = run(scripted(slm, llm, **settings), [request or ask()])
    return answer


class Letters:
    """Token n is the n-th letter."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join("-.abcdefghijklmnop"[i] for i in ids if not (skip_special_tokens and i < 2))


def mixed(count: int, **settings: Any) -> list[Request]:
    """Requests on the random pair with prompts of 3 to 45 tokens and taus from 0.4 to 0.8."""
    return [
        Request(
            prompts={SLM: prompt(3 + 6 * i, i), LLM: prompt(45 - 6 * i, 50 + i)},
            policy=make("entropy", tau=0.4 + 0.4 * i / count),
            **{"max_tokens": 25, **settings},
        )
        for i in range(count)
    ]
