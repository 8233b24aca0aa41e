"""Settings of an engine: written once here, read by the command line, saved in traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rstitch.errors import BadRequest


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Frozen: resolved once at load, never changed afterwards."""

    max_rows: int = 32
    """Requests in flight; further ones wait for admission."""
    max_step_tokens: int = 2048
    """Tokens fed in one pass; longer prompts are prefilled in chunks."""
    waiting: str = "table"
    """When the LLM runs: by expected throughput ("table"), as soon as one row waits for it
    ("eager"), or from a number of waiting rows on ("fixed:6"); the latter two for comparison."""
    max_wait: float = 2.0
    """Longest that a row waits for its side, in LLM steps: the promise against starving."""
    kv_memory: float | None = None
    """GiB of KV memory for both sides together; None takes up to half of what is free at load."""
    idle_rows: int = 4
    """Ended requests whose KV is kept on each side, for prompts that begin like theirs (the next
    turn of a chat); 0 keeps none. They are part of `max_rows` and give way to all in flight."""
    profile: str | None = None
    """JSON file of step costs; without one they are measured at the first use (`measure_costs`)."""
    measure_costs: bool = True
    """False: the waiting table starts without costs and learns them while running only."""
    compile: bool = False
    """Compile the single-row steps with torch.compile; 10 to 60 s once, then faster steps."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of weights, activations and KV."""
    device: str = "cpu"
    """Where both models are: "cpu" or "cuda"."""
    engine: Literal["auto", "torch", "llamacpp", "vllm"] = "auto"
    """What runs the models; "auto" takes llama.cpp for GGUF files and torch for all others."""
    threads: int | None = None
    """CPU threads of both models; None takes what is fastest for each pass (`engine.threads`), of
    those that torch would use."""
    slm_threads: int | None = None
    """Those of the SLM alone, on llama.cpp."""
    llm_threads: int | None = None
    """Those of the LLM alone, on llama.cpp."""
    kv_type: Literal["f32", "f16", "q8_0"] | None = None
    """KV on llama.cpp; None takes f32 for a file of f32 weights and f16 for all others."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """On llama.cpp; "auto" is off with f32 KV, which its flash attention would round to f16."""
    gpu_layers: int = 0
    """Layers that llama.cpp puts on a GPU, where it was built for one; -1 is all."""
    slm_vllm: str = ""
    """vLLM's own engine arguments for the SLM, as a JSON object: {"quantization": "fp8"}."""
    llm_vllm: str = ""
    """The same for the LLM: {"tensor_parallel_size": 2}."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> EngineConfig:
        """Raises BadRequest for a setting that there is not."""
        for name in settings:
            if name not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise BadRequest(f"unknown setting {name!r}; known: {known}")
        return cls(**settings)

    def __post_init__(self) -> None:
        for name in ("max_rows", "max_step_tokens"):
            if getattr(self, name) < 1:
                raise BadRequest(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.idle_rows < 0:
            raise BadRequest(f"idle_rows is {self.idle_rows}; it must be 0 (off) or more")
        for name in ("threads", "slm_threads", "llm_threads"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise BadRequest(f"{name} is {given}; it must be at least 1")
        if not self.max_wait >= 0:
            raise BadRequest(f"max_wait is {self.max_wait}; it must be 0 or more LLM steps")
        if self.kv_memory is not None and not self.kv_memory > 0:
            raise BadRequest(f"kv_memory is {self.kv_memory}; it must be above 0 (GiB)")
        if self.waiting not in ("table", "eager") and not self.fixed_threshold:
            raise BadRequest(
                f"waiting is {self.waiting!r}; it must be 'table', 'eager', or 'fixed:' and a "
                "number of rows from 1 on, such as 'fixed:6'"
            )

    @property
    def fixed_threshold(self) -> int | None:
        """Rows that have to wait before the LLM runs, where `waiting` fixes that number."""
        name, colon, rows = self.waiting.partition(":")
        digits = name == "fixed" and colon and rows.isascii() and rows.isdigit()
        return int(rows) or None if digits else None
