"""From a request's fields to what the engine is asked: policy, sampling, prompts, limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.pairs import bound
from rstitch.policy import Policy
from rstitch.prompts import Prompt
from rstitch.server import chat, completions, drawn
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.config import Limits
from rstitch.server.errors import WARMING, Problem, bad
from rstitch.server.fields import Ignored
from rstitch.server.models import Names
from rstitch.server.task import UNSAID, Task
from rstitch.steering import Limits as Steering
from rstitch.steering import priced, within
from rstitch.text import ByteLevel
from rstitch.types import Sampling, Side

COMPLETION_TOKENS = 16
"""What OpenAI's completions default to."""


@dataclass(frozen=True)
class Asking:
    """Reads requests for one pair."""

    stitch: Stitch
    names: Names
    limits: Limits
    may_degrade: bool = False

    def read(self, body: Chat | Completion, owner: str) -> Task:
        """owner: on whose behalf, and whose KV of ended requests it may use. Raises Problem for
        what this server does not do, BadRequest for what the pair cannot."""
        prompts = _prompts(body)
        self._check(body, len(prompts))
        policy = self._held(self.names.policy(body.model, body.rstitch or UNSAID), body)
        bound.check(policy, self.stitch.models)
        own, most = self.stitch.defaults.sampling, self.limits.max_logit_bias
        sampling = drawn.sampling(body, own, most)
        self._check_bias(sampling, policy)
        found = [self._prompt(one, policy) for one in prompts]
        requests = tuple(
            self._request(body, policy, one, ids, owner)
            for ids, one in zip(found, drawn.each(body, sampling, len(found)), strict=True)
        )
        return Task(
            body=body,
            model=body.model or self.names.pair,
            policy=policy,
            requests=requests,
            thinks=tuple(
                isinstance(body, Chat) and self.stitch.starts_thinking(ids) for ids in found
            ),
            ignored=ignored(body),
        )

    def _held(self, policy: Policy, body: Chat | Completion) -> Policy:
        """To the limits that the request sets; tau may then start elsewhere, within the bounds."""
        asked = body.rstitch or UNSAID
        limits = Steering(asked.max_llm_share, asked.max_llm_tokens, asked.deadline)
        if not limits.given():
            return policy
        self.names.rules.check_limits(f"rstitch.{next(iter(limits.given()))}")
        self.names.rules.check_deadline(asked.deadline)
        named = asked.tau is not None or asked.policy is not None or "@" in (body.model or "")
        most = self._wanted(body) or min(map(self._context, self.stitch.models))
        try:
            for chosen in (named, True):
                held = within(
                    limits, policy, self.stitch.defaults.habits,
                    most=most, chosen=chosen, prices=self._prices,
                )  # fmt: skip
                if not self.names.rules.outside(held):
                    return held
        except BadRequest as error:
            raise bad(str(error), f"rstitch.{next(iter(limits.given()))}") from None
        raise AssertionError("tau was within the bounds before")

    def _prices(self) -> dict[str, float]:
        """What passes cost, as the engine has seen them."""
        found = priced(self.stitch.engine, 1)
        if not (found["slm_step"] and found["llm_step"]):
            raise Problem(503, WARMING, "rstitch.deadline", "unavailable", retry_after=1)
        return found

    def _check(self, body: Chat | Completion, prompts: int) -> None:
        n, most, rows = body.n or 1, self.limits.max_n, self.stitch.engine.config.max_rows
        if n > most:
            raise bad(f"n is {n}; this server takes at most {most}", "n")
        if n * prompts > rows:  # it would wait in the engine, ahead of everybody's turns
            told = f"{prompts} prompts with n = {n} are {n * prompts} answers; this server writes"
            raise bad(f"{told} {rows} at once; send several requests", "prompt" if n == 1 else "n")
        if body.stream_options is not None and not body.stream:
            raise bad("stream_options is given without stream", "stream_options")
        if isinstance(body, Chat) and body.top_logprobs and not body.logprobs:
            raise bad("top_logprobs is given without logprobs: true", "top_logprobs")

    def _prompt(self, given: Prompt | list[int], policy: Policy) -> dict[Side, tuple[int, ...]]:
        param = "messages" if isinstance(given, list) and isinstance(given[0], dict) else "prompt"
        self._bound(_characters(given), policy, param)
        try:
            if isinstance(given, list) and isinstance(given[0], int):
                self._check_ids("prompt", given, Side.LLM)
                empty: dict[Side, tuple[int, ...]] = dict.fromkeys(policy.sides(), ())
                found = self.stitch.begun(empty, given)
            else:
                raw = param == "prompt"
                found = self.stitch.prompts(given, policy=policy, raw=raw)  # type: ignore[arg-type]
        except BadRequest as error:
            raise bad(str(error), param) from None
        for side, ids in found.items():
            self._fits(side, len(ids), param)
        return found

    def _bound(self, characters: int, policy: Policy, param: str) -> None:
        """A text that cannot fit is refused before it is made into tokens, which takes seconds."""
        for side in policy.sides():
            longest = self.longest.get(side)
            if longest and characters > longest * self._room(side):
                told = f"the prompt has {characters} characters, more than the {side.name}'s "
                told += f"{self._room(side)} tokens can hold"
                raise bad(told, param, "context_length_exceeded")

    def _room(self, side: Side) -> int:
        """Tokens that a prompt may have there, at most."""
        context = self._context(side)
        return min(context, self.limits.max_prompt_tokens or context)

    def _context(self, side: Side) -> int:
        length: int = self.stitch.models[side].runner.max_length
        return length

    @cached_property
    def longest(self) -> dict[Side, int]:
        """Bytes of a side's longest token, where a text's tokens are its bytes."""
        return {
            side: max(map(len, (*model.vocabulary.base, *model.vocabulary.added)))
            for side, model in self.stitch.models.items()
            if isinstance(self.stitch.decoders[side], ByteLevel)
        }

    def _check_ids(self, name: str, ids: Iterable[Any], side: Side) -> None:
        size, worst = self.stitch.models[side].runner.vocab_size, max(ids, default=0)
        if worst >= size:
            raise bad(f"{name} has token {worst}; the {side.name}'s vocabulary has {size}", name)

    def _check_bias(self, sampling: Sampling, policy: Policy) -> None:
        ids = (token for token, _ in sampling.logit_bias)
        self._check_ids("logit_bias", ids, max(policy.sides()))

    def _fits(self, side: Side, size: int, param: str) -> None:
        context, most = self._context(side), self.limits.max_prompt_tokens
        told = ""
        if most is not None and size > most:
            told = f"this server takes at most {most}"
        elif size >= context:
            told = f"the {side.name}'s context is {context}"
        if told:
            raise bad(f"the prompt has {size} tokens; {told}", param, "context_length_exceeded")

    def _request(
        self,
        body: Chat | Completion,
        policy: Policy,
        sampling: Sampling,
        prompts: Mapping[Side, tuple[int, ...]],
        owner: str,
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
            reuse=owner,
            owner=owner,
        )

    def _max_tokens(self, body: Chat | Completion, prompts: Mapping[Side, Sequence[int]]) -> int:
        """Never more than there is room for, so that a queue knows what a request may take."""
        room = min(self._context(side) - len(ids) for side, ids in prompts.items())
        return min(self._wanted(body) or room, room)

    def _wanted(self, body: Chat | Completion) -> int | None:
        """Tokens of the answer; None for as many as there is room for."""
        given = [body.max_tokens, body.max_completion_tokens if isinstance(body, Chat) else None]
        asked = min((one for one in given if one is not None), default=None)
        most = self.limits.max_tokens
        if asked is not None and most is not None and asked > most:
            told = f"max_tokens is {asked}; this server gives at most {most}"
            raise bad(told, "max_tokens")
        if asked is None and isinstance(body, Completion):
            asked = min(COMPLETION_TOKENS, most or COMPLETION_TOKENS)
        return asked or self.limits.default_max_tokens or most


def _prompts(body: Chat | Completion) -> list[Any]:
    return [chat.messages(body)] if isinstance(body, Chat) else completions.prompts(body)


def _characters(given: Any) -> int:
    """Of a prompt in words: a text, or messages."""
    if isinstance(given, str):
        return len(given)
    return sum(len(one["content"]) for one in given if isinstance(one, dict))


def _top(body: Chat | Completion) -> int:
    return (body.logprobs if isinstance(body, Completion) else body.top_logprobs) or 0


def ignored(body: Chat | Completion) -> tuple[str, ...]:
    """Fields that were given, and change nothing."""
    found = [n for n in Ignored.model_fields if getattr(body, n) is not None]
    if isinstance(body, Chat) and any(one.name is not None for one in body.messages):
        found.append("messages.name")
    return tuple(found)
