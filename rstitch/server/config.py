"""What a server is told: by `--config rstitch.toml`, then `RSTITCH_*`, then flags.

`[listen] port` of the file, `RSTITCH_PORT` and `--port` are one setting. Each value knows which of
them it came from, and a wrong one is refused with that origin. API keys are no part of this
(`keys`), so all of it may be printed, hashed and shown.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal

from rstitch.config import EngineConfig
from rstitch.errors import BadRequest
from rstitch.server.checks import named, policies, within
from rstitch.server.settings import Setting, settings
from rstitch.units import nats


@dataclass(frozen=True, slots=True)
class Listen:
    """Where and how."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one of this machine."""
    port: int = 8000
    """TCP port; 0 takes a free one."""
    served_name: str | None = None
    """Model name of the stitched pair; the pair's own if left out."""
    keys_file: str | None = None
    """TOML file of API keys and their quotas; beside it, RSTITCH_API_KEYS."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may ask; none if left out, "*" is all."""
    hosts: tuple[str, ...] = ()
    """Names by which it may be asked, beside this machine's own; if left out, any where it listens
    for other machines, and none where it does not. "*" is any."""
    playground: Literal["auto", "on", "off"] = "auto"
    """The page at /; "auto" shows it where no keys are set."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """A line per request on stderr; "auto" is text on a terminal and JSON elsewhere."""

    def __post_init__(self) -> None:
        within("port", self.port, 0, 65535)
        named("host", self.host)
        named("served_name", self.served_name)
        for origin in self.cors:
            if origin != "*" and (
                not origin.startswith(("http://", "https://")) or origin[-1] == "/"
            ):
                raise BadRequest(
                    f"cors has {origin!r}; write an origin as https://example.org, or '*'"
                )


@dataclass(frozen=True, slots=True)
class Models:
    """Which pair."""

    pair: str = "builtin"
    """A named pair (see rstitch pairs) or a pair's TOML file."""
    slm: str | None = None
    """Small model: a directory, hub id, GGUF file or repo:file."""
    llm: str | None = None
    """Large model: the same."""
    slm_suffix: str | None = None
    """Text that the SLM alone reads after the last user message."""
    llm_suffix: str | None = None
    """The same for the LLM."""
    tau: float | str | None = None
    """Entropy threshold where a request names none, 0 to 1 or "0.24nats"; the pair's own if left
    out."""
    policy: str | None = None
    """Who writes the next token where a request names nobody, with parameters: router,file=DIR; the
    plain rule if left out."""
    trust_remote_code: bool = False
    """Run code that comes with the models."""
    engine_process: bool = True
    """They run in a process of their own, where HTTP does not slow them down; on vLLM always."""

    def __post_init__(self) -> None:
        if isinstance(self.tau, str) and nats(self.tau) is None:
            raise BadRequest(f"tau is {self.tau!r}; it must be a number such as 0.02, or 0.24nats")
        if (self.slm is None) != (self.llm is None) and self.pair == "builtin":
            raise BadRequest("give both slm and llm, or neither for a named pair")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of everything, so that nobody can take all of it."""

    max_body_bytes: int = 2**20
    """Of a request's body."""
    max_prompt_tokens: int | None = None
    """Of a request's prompt; what the context holds if left out."""
    max_tokens: int | None = None
    """That a request may ask for; what the context holds if left out."""
    default_max_tokens: int | None = None
    """Where a request does not say; as many as it may ask for if left out."""
    max_n: int = 16
    """Answers to one prompt."""
    max_logit_bias: int = 300
    """Entries of logit_bias."""
    queue_length: int = 256
    """Requests that wait at most; further ones get 429."""
    request_seconds: float = 600.0
    """Longest that a request may take, its wait included."""
    drain_seconds: float = 30.0
    """What is being answered gets at a shutdown."""
    health_seconds: float = 10.0
    """/health says no after that long without a step while there is work."""

    def __post_init__(self) -> None:
        within("max_body_bytes", self.max_body_bytes, 1024)
        within("max_prompt_tokens", self.max_prompt_tokens, 1)
        within("max_tokens", self.max_tokens, 1)
        within("default_max_tokens", self.default_max_tokens, 1, self.max_tokens)
        within("max_n", self.max_n, 1)
        within("max_logit_bias", self.max_logit_bias, 0)
        within("queue_length", self.queue_length, 0)
        within("request_seconds", self.request_seconds, 0, above=True)
        within("drain_seconds", self.drain_seconds, 0)
        within("health_seconds", self.health_seconds, 0, above=True)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What requests may choose; outside of it they are refused."""

    tau_min: float | None = None
    """Lowest tau; below it the LLM writes more."""
    tau_max: float | None = None
    """Highest tau."""
    policies: tuple[str, ...] = ()
    """Policies by name; every built-in and installed one if left out."""
    deadline_min: float | None = None
    """Shortest deadline, seconds."""
    deadline_max: float | None = None
    """Longest deadline, seconds."""

    def __post_init__(self) -> None:
        within("tau_max", self.tau_max, self.tau_min)
        within("deadline_min", self.deadline_min, 0)
        within("deadline_max", self.deadline_max, self.deadline_min or 0)
        policies(self.policies)


@dataclass(frozen=True, slots=True)
class Failures:
    """What happens when a side is lost, and how answers are watched."""

    on_side_failure: Literal["fail", "finish"] = "fail"
    """When the LLM is lost: "fail" ends its requests and the server; "finish" goes on with the SLM
    alone and says so in every answer."""
    shadow: float = 0.0
    """Share of answers that the LLM alone writes again when idle, to see how often they agree."""

    def __post_init__(self) -> None:
        within("shadow", self.shadow, 0, 1)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Frozen: resolved once at the start (`resolve.load`), never changed afterwards."""

    listen: Listen = Listen()
    models: Models = Models()
    engine: EngineConfig = EngineConfig()
    limits: Limits = Limits()
    bounds: Bounds = Bounds()
    failures: Failures = Failures()

    def __post_init__(self) -> None:
        low, high, tau = self.bounds.tau_min, self.bounds.tau_max, self.models.tau
        if isinstance(tau, float) and not (
            (low is None or tau >= low) and (high is None or tau <= high)
        ):
            raise BadRequest(f"tau is {tau:g}; it must lie within tau_min and tau_max")

    def value(self, setting: Setting) -> Any:
        return getattr(getattr(self, setting.table), setting.name)

    def digest(self) -> str:
        """16 hexadecimal digits that differ where any value does."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


TABLES: dict[str, type[Any]] = {one.name: type(one.default) for one in fields(ServerConfig)}
"""From a table of the file to its dataclass."""


@cache
def known() -> dict[str, Setting]:
    """Every setting by its name, table by table."""
    return {one.name: one for table, group in TABLES.items() for one in settings(table, group)}
