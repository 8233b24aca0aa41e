"""What is asked of an engine, and the seam behind which it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.engine.vocabulary import Translation
from rstitch.policy.base import Policy
from rstitch.types import Event, Sampling, Side, sample_seed


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to write. Prompts are token ids per side: templates and suffixes may differ."""

    prompts: Mapping[Side, tuple[int, ...]]
    """For every side that the policy can use."""
    policy: Policy
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 512
    """Kept tokens at most; discarded proposals do not count."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and do not become part of it."""
    stop_token_ids: frozenset[int] = frozenset()
    """Tokens that end the answer beside the models' own end-of-text tokens: ids of the LLM, or of
    the SLM where it writes alone."""
    ignore_eos: bool = False
    """Go on after an end-of-text token (for benchmarks)."""
    top_logprobs: int = 0
    """Likeliest raw log-probabilities to report per token."""
    n: int = 1
    """Answers to write. They share the prompt's KV; each draws by `types.sample_seed`."""
    may_degrade: bool = False
    """Where the LLM is lost the SLM goes on alone, which `Usage.degraded` tells."""
    reuse: str | None = None
    """A name in which KV is kept after the end, and taken over from ended requests of the same name
    whose prompts begin alike. None does neither; nor do several samples."""
    owner: str = ""
    """On whose behalf. Owners share the models' time alike, however many requests each has."""


def sample_ids(request_id: str, n: int) -> list[str]:
    """The names that the events of a request's n samples carry."""
    return [request_id] if n == 1 else [f"{request_id}.{index}" for index in range(n)]


def samples(request: Request, request_id: str) -> list[tuple[str, int]]:
    """Name and seed of each of a request's n samples."""
    seed = request.sampling.seeded().seed
    assert seed is not None
    names = enumerate(sample_ids(request_id, request.n))
    return [(name, sample_seed(seed, index)) for index, name in names]


class Engine(Protocol):
    """HOW answers are written. Commands, server, evaluation and training talk to this alone."""

    config: EngineConfig
    translation: Translation | None
    """Between the sides' special tokens; None where ids are the same."""

    def check(self, request: Request) -> None:
        """Raise what `submit` would."""
        ...

    def submit(self, request: Request) -> str:
        """Accept a request and return its id. Raises BadRequest when it can never be served, and
        SideLost where it needs a model that cannot be run any more.

        With n > 1, events carry the samples' own ids, `sample_ids(id, n)`.
        """
        ...

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens, until `close`."""
        ...

    def step(self) -> list[Event]:
        """For whoever drives it instead of reading `events`: what has happened since, waiting a
        moment for the first. Empty when idle."""
        ...

    @property
    def idle(self) -> bool:
        """Nothing is in flight or queued, and no event waits to be taken."""
        ...

    def seconds(self, side: Side, rows: int) -> float:
        """Of a decode step of so many rows, as seen lately; 0 where the side has never run."""
        ...

    def reading(self, side: Side) -> float:
        """Seconds of each token that a row has to catch up on, beside its step, as seen lately."""
        ...

    def measure(self) -> LinearCosts:
        """Measure what a step costs, while idle. Raises BadRequest where that cannot be done."""
        ...

    def cancel(self, request_id: str) -> None:
        """End a request early, or one sample of it; it answers with Finished("cancelled").

        Unknown ids are ignored.
        """
        ...

    def stats(self) -> dict[str, Any]:
        """At least: "active" and "queued" requests, "steps" so far, and "lost", which has the label
        of each side that cannot be run any more, with the reason."""
        ...

    def close(self) -> None: ...
