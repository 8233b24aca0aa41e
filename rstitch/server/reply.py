"""Answers as OpenAI's objects: whole replies, and chunks of a stream made of the same parts."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rstitch.server import extra
from rstitch.server.choice import Choice, Part
from rstitch.server.completions import Completion
from rstitch.server.task import Task
from rstitch.server.words import Words
from rstitch.types import Token

Json = dict[str, Any]


@dataclass(slots=True)
class Form:
    """One reply's identity, and how its parts are written."""

    task: Task
    words: Words
    fingerprint: str
    id: str
    created: int = field(default_factory=lambda: int(time.time()))
    queued: float = 0.0
    _offsets: dict[int, int] = field(default_factory=dict)
    """Characters of each answer that were told, for completions' text_offset."""

    @property
    def plain(self) -> bool:
        """Of /v1/completions."""
        return isinstance(self.task.body, Completion)

    @property
    def name(self) -> str:
        """What the reply says is its id."""
        return f"{'cmpl' if self.plain else 'chatcmpl'}-{self.id}"

    def shows(self, part: Part) -> bool:
        """There is something in it that a client would see."""
        return bool(part.tokens or (part.text if self.plain else part.content or part.reasoning))

    def whole(self, choices: Sequence[Choice]) -> Json:
        written = [self._choice(choice, choice.take(), whole=True) for choice in choices]
        return {
            **self._head("text_completion" if self.plain else "chat.completion", written),
            "usage": self.usage(choices),
            "rstitch": self.summary(choices),
        }

    def opening(self, choice: Choice) -> Json:
        """A chat's first chunk has the role and nothing else: OpenAI's client takes the log-
        probabilities of a first chunk twice."""
        told: Json = {"index": choice.index, "delta": {"role": "assistant", "content": ""}}
        chunk = self._chunk([{**told, "logprobs": None, "finish_reason": None}])
        if self.task.asked.provenance:
            chunk["rstitch"] = {"version": extra.VERSION, "tokens": []}
        return chunk

    def chunk(self, choice: Choice, part: Part) -> Json:
        written = self._choice(choice, part, whole=False)
        tokens = written.pop("rstitch", None)
        chunk = self._chunk([written])
        if tokens is not None:
            chunk["rstitch"] = {"version": extra.VERSION, **tokens}
        return chunk

    def last(self, choices: Sequence[Choice], chunk: Json | None = None) -> Json:
        """The chunk that ends a stream, with the summary; a chunk of its own has the usage."""
        if chunk is None:
            chunk = self._chunk([])
            chunk["usage"] = self.usage(choices)
        chunk["rstitch"] = {**self.summary(choices), **chunk.get("rstitch", {})}
        return chunk

    def _chunk(self, choices: list[Json]) -> Json:
        return self._head("text_completion" if self.plain else "chat.completion.chunk", choices)

    def _head(self, kind: str, choices: list[Json]) -> Json:
        return {
            "id": self.name,
            "object": kind,
            "created": self.created,
            "model": self.task.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }

    def _choice(self, choice: Choice, part: Part, *, whole: bool) -> Json:
        written: Json = {"index": choice.index}
        if self.plain:
            written["text"] = part.text
        else:
            written["message" if whole else "delta"] = _message(part, whole)
        written["logprobs"] = self._logprobs(choice, part)
        written["finish_reason"] = choice.reason
        if self.task.asked.provenance:
            written["rstitch"] = {"tokens": extra.told(part.tokens)}
        return written

    def _logprobs(self, choice: Choice, part: Part) -> Json | None:
        if self.task.logprobs is None:
            return None
        kept = [t for t in part.tokens if t.proposal.keep and not choice.is_end(t)]
        if self.plain:
            offset = self._offsets.get(choice.index, 0)
            self._offsets[choice.index] = offset + len(part.text)
            return _plain_logprobs(kept, self.words, offset)
        return {"content": [_logprob(token, self.words) for token in kept], "refusal": None}

    def usage(self, choices: Sequence[Choice]) -> Json:
        usages = [choice.usage for choice in choices if choice.usage is not None]
        prompt = self.task.prompt_tokens
        completion = sum(usage.tokens for usage in usages)
        degraded = {"degraded": True} if self.is_degraded(choices) else {}
        return {
            **degraded,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self._cached(choices)},
            "completion_tokens_details": {
                "reasoning_tokens": sum(choice.reasoning_tokens for choice in choices)
            },
        }

    def _cached(self, choices: Sequence[Choice]) -> int:
        """Prompt tokens that no answer to a prompt had to read: an ended request had left them."""
        found, rest = 0, list(choices)
        for request in self.task.requests:
            mine, rest = rest[: request.n], rest[request.n :]
            found += min(one.usage.cached_tokens if one.usage else 0 for one in mine)
        return found

    def is_degraded(self, choices: Iterable[Choice]) -> bool:
        return any(one.usage is not None and one.usage.degraded for one in choices)

    def summary(self, choices: Iterable[Choice]) -> Json:
        usages = [choice.usage for choice in choices if choice.usage is not None]
        policy = self.task.policy
        tau = getattr(policy, "tau", None)
        return extra.summary(usages, policy.name, tau, self.queued)


def _message(part: Part, whole: bool) -> Json:
    """A whole message has both words for its reasoning, null where there was none."""
    message: Json = {"role": "assistant", "refusal": None} if whole else {}
    if whole or part.content:
        message["content"] = part.content
    if whole or part.reasoning:
        message["reasoning"] = message["reasoning_content"] = part.reasoning or None
    return message


def _logprob(token: Token, words: Words) -> Json:
    proposal = token.proposal
    told = _word(words, proposal, proposal.token, proposal.logprob)
    told["top_logprobs"] = [_word(words, proposal, *pair) for pair in proposal.top_logprobs]
    return told


def _word(words: Words, proposal: Any, token: int, logprob: float) -> Json:
    text, data = words.of(proposal.side, token)
    return {"token": text, "logprob": max(logprob, extra.LEAST), "bytes": data}


def _plain_logprobs(tokens: list[Token], words: Words, offset: int) -> Json:
    found: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in tokens:
        proposal = token.proposal
        found["tokens"].append(words.of(proposal.side, proposal.token)[0])
        found["token_logprobs"].append(max(proposal.logprob, extra.LEAST))
        found["top_logprobs"].append(
            {words.of(proposal.side, i)[0]: max(p, extra.LEAST) for i, p in proposal.top_logprobs}
        )
        found["text_offset"].append(offset)
        offset += len(token.text)
    return found
