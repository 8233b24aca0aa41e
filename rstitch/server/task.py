"""One HTTP request, understood: what the engine is asked, and what the reply has to show."""

from __future__ import annotations

from dataclasses import dataclass

from rstitch.engine.request import Request
from rstitch.policy import Policy
from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from rstitch.server.extra import Asked

UNSAID = Asked()
"""Of a request without the key `rstitch`; made once, since every piece of a stream looks at it."""


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
        return self.body.rstitch or UNSAID

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
