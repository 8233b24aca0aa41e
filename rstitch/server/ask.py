"""From a request's fields to what the engine is asked: policy, sampling, prompts, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.pairs import bound
from rstitch.policy import Policy
from rstitch.prompts import Prompt, starts_thinking
from rstitch.server import chat, completions
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.config import Limits
from rstitch.server.errors import bad
from rstitch.server.extra import Asked
from rstitch.server.fields import Ignored
from rstitch.server.models import Names
from rstitch.types import Sampling, Side

COMPLETION_TOKENS = 16
"""What OpenAI's completions default to."""
SAMPLING = ("temperature", "top_p", "top_k", "min_p")


@dataclass(frozen=True, slots=True)
class Task:
    """One HTTP request, understood."""

    body: Chat | Completion
    model: str
    """As it was asked for."""
    policy: Policy
    requests: tuple[Request, ...]
    """One per prompt."""
    thinks: tuple[bool, ...]
    """Per prompt: the answer begins inside a thought."""
    ignored: tuple[str, ...]

    @property
    def asked(self) -> Asked:
        return self.body.rstitch or Asked()

    @property
    def choices(self) -> int:
        return sum(request.n for request in self.requests)

    @property
    def cost(self) -> int:
        """Tokens that it may take, prompts included."""
        written = sum(request.n * request.max_tokens for request in self.requests)
        return self.prompt_tokens + written

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts; each counts once, however many answers it gets."""
        return sum(max(map(len, request.prompts.values())) for request in self.requests)

    @property
    def usage_chunk(self) -> bool:
        """The stream ends with a chunk of its own for the usage."""
        options = self.body.stream_options
        return options is not None and bool(options.include_usage)

    @property
    def logprobs(self) -> int | None:
        """How many likeliest tokens to tell beside each; None where nothing is to be told."""
        if isinstance(self.body, Completion):
            return self.body.logprobs
        return (self.body.top_logprobs or 0) if self.body.logprobs else None

    @property
    def keeps_tokens(self) -> bool:
        return bool(self.asked.provenance) or self.logprobs is not None


@dataclass(frozen=True, slots=True)
class Asking:
    """Reads requests for one pair."""

    stitch: Stitch
    names: Names
    limits: Limits
    may_degrade: bool = False

    def read(self, body: Chat | Completion) -> Task:
        """Raises Problem for what this server does not do, BadRequest for what the pair cannot."""
        policy = self.names.policy(body.model, body.rstitch or Asked())
        bound.check(policy, self.stitch.models)
        self._check(body)
        sampling = _sampling(body, self.stitch.defaults.sampling)
        found = [self._prompt(one, policy) for one in _prompts(body)]
        requests = tuple(self._request(body, policy, sampling, ids) for ids in found)
        return Task(
            body=body,
            model=body.model or self.names.pair,
            policy=policy,
            requests=requests,
            thinks=tuple(isinstance(body, Chat) and self._thinks(ids) for ids in found),
            ignored=ignored(body),
        )

    def _check(self, body: Chat | Completion) -> None:
        most = self.limits.max_n
        if body.n is not None and body.n > most:
            raise bad(f"n is {body.n}; this server takes at most {most}", "n")
        if body.stream_options is not None and not body.stream:
            raise bad("stream_options is given without stream", "stream_options")
        if isinstance(body, Chat) and body.top_logprobs and not body.logprobs:
            raise bad("top_logprobs is given without logprobs: true", "top_logprobs")

    def _prompt(self, given: Prompt | list[int], policy: Policy) -> dict[Side, tuple[int, ...]]:
        param = "messages" if isinstance(given, list) and isinstance(given[0], dict) else "prompt"
        try:
            if isinstance(given, list) and isinstance(given[0], int):
                empty: dict[Side, tuple[int, ...]] = dict.fromkeys(policy.sides(), ())
                found = self.stitch.begun(empty, given)  # type: ignore[arg-type]  # all are ids
            else:
                raw = param == "prompt"
                found = self.stitch.prompts(given, policy=policy, raw=raw)  # type: ignore[arg-type]
        except BadRequest as error:
            raise bad(str(error), param) from None
        most, size = self.limits.max_prompt_tokens, max(map(len, found.values()))
        if most is not None and size > most:
            told = f"the prompt has {size} tokens; this server takes at most {most}"
            raise bad(told, param, "context_length_exceeded")
        return found

    def _request(
        self,
        body: Chat | Completion,
        policy: Policy,
        sampling: Sampling,
        prompts: Mapping[Side, tuple[int, ...]],
    ) -> Request:
        stop = body.stop or ()
        return Request(
            prompts=prompts,
            policy=policy,
            sampling=sampling,
            max_tokens=self._max_tokens(body, prompts),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            top_logprobs=_top(body),
            n=body.n or 1,
            may_degrade=self.may_degrade,
        )

    def _max_tokens(self, body: Chat | Completion, prompts: Mapping[Side, Sequence[int]]) -> int:
        """Never more than there is room for, so that a queue knows what a request may take."""
        given = [body.max_tokens, body.max_completion_tokens if isinstance(body, Chat) else None]
        asked = min((one for one in given if one is not None), default=None)
        most = self.limits.max_tokens
        if asked is not None and most is not None and asked > most:
            told = f"max_tokens is {asked}; this server gives at most {most}"
            raise bad(told, "max_tokens")
        if asked is None and isinstance(body, Completion):
            asked = COMPLETION_TOKENS
        room = min(
            self.stitch.models[side].runner.max_length - len(ids) for side, ids in prompts.items()
        )
        wanted = asked or self.limits.default_max_tokens or most or room
        return max(1, min(wanted, room))

    def _thinks(self, prompts: Mapping[Side, tuple[int, ...]]) -> bool:
        models = self.stitch.models
        return starts_thinking((models[side].tokenizer, ids) for side, ids in prompts.items())


def _prompts(body: Chat | Completion) -> list[Any]:
    return [chat.messages(body)] if isinstance(body, Chat) else completions.prompts(body)


def _top(body: Chat | Completion) -> int:
    return (body.logprobs if isinstance(body, Completion) else body.top_logprobs) or 0


def _sampling(body: Chat | Completion, own: Sampling) -> Sampling:
    """The pair's own, but for what the request says."""
    given = {name: value for name in SAMPLING if (value := getattr(body, name)) is not None}
    if given.get("top_k") == -1:
        given["top_k"] = 0
    seed = None if body.seed is None else body.seed % 2**63
    return replace(own, **given, seed=seed).seeded()


def ignored(body: Chat | Completion) -> tuple[str, ...]:
    """Fields that were given, and change nothing."""
    return tuple(n for n in Ignored.model_fields if getattr(body, n) is not None)
