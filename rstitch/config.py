"""Settings of an engine: written once here, read by the command line, saved in traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rstitch.errors import BadRequest


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Frozen: resolved once at load, never changed afterwards."""

    max_rows: int = 32
    """Requests in flight; further ones wait for admission."""
    max_step_tokens: int = 2048
    """Tokens fed in one pass; longer prompts are prefilled in chunks."""
    waiting: Literal["table", "eager"] = "table"
    """When the LLM runs: by expected throughput, or as soon as one row waits for it."""
    max_wait_steps: float = 2.0
    """Longest that a row waits for its side, in LLM steps: the promise against starving."""
    compile: bool = False
    """Compile the single-row steps with torch.compile; 10 to 60 s once, then faster steps."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights, activations and KV."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads of both models; None leaves torch's own choice."""

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_step_tokens"):
            if getattr(self, name) < 1:
                raise BadRequest(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise BadRequest(f"threads is {self.threads}; it must be at least 1")
        if self.waiting not in ("table", "eager"):
            raise BadRequest(f"waiting is {self.waiting!r}; it must be 'table' or 'eager'")
