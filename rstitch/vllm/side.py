"""One side's vLLM engine: what it is before it runs, and while it does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rstitch.engine.row_limits import RowLimits
from rstitch.errors import BadModel
from rstitch.types import Side
from rstitch.vllm import hidden
from rstitch.vllm.report import ENOUGH
from rstitch.vllm.starting import Log, environment

LINES = 3
"""Of an error of vLLM's that are told: some begin with a count."""
BLOCK = 256
"""Tokens of a block of KV memory at most."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a model without its weights."""

    source: str
    vocab_size: int
    """Tokens that the tokenizer really has."""
    columns: int
    """Of its logits."""
    max_length: int
    """Tokens that its context holds."""
    token_bytes: int
    """KV memory of one token."""
    weights: int = 0
    """Bytes that they will take, where that is asked."""

    def __post_init__(self) -> None:
        if self.columns < ENOUGH:
            raise BadModel(
                f"{self.source} has {self.columns} columns of logits; on vLLM the gate needs "
                f"{ENOUGH}: use engine 'torch'"
            )


@dataclass(slots=True)
class VllmSide:
    """Stands where other engines have a runner. Started and shut down by the engine alone."""

    shape: Shape
    options: Mapping[str, Any]
    """vLLM's engine arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that its processes alone find set."""
    llm: Any = None
    """vLLM's `AsyncLLM` while it runs."""
    deaf: str = ""
    """Why its workers do not hear final hidden states; empty if they do."""
    _room: tuple[int, int] = field(default=(0, 1))
    """Blocks of KV memory, and tokens that one holds."""
    _context: int = 0
    """Tokens that a row may have in vLLM: the user may have set fewer than the model's own."""

    @property
    def vocab_size(self) -> int:
        return self.shape.vocab_size

    @property
    def max_length(self) -> int:
        """Tokens that its context holds."""
        return self._context or self.shape.max_length

    @property
    def limit(self) -> int:
        """Tokens that a row may hold: those of the context, or of all memory if they are fewer."""
        blocks, size = self._room
        return min(self.max_length, blocks * size) if blocks else self.max_length

    @property
    def bytes(self) -> int:
        """Of its KV memory while it runs."""
        blocks, size = self._room
        return blocks * size * self.token_bytes

    @property
    def workers(self) -> int:
        """Processes that each read the whole of a distribution, and decide for themselves."""
        return int(self.options.get("tensor_parallel_size", 1))

    @property
    def token_bytes(self) -> int:
        return self.shape.token_bytes

    @property
    def dead(self) -> bool:
        """Its process is gone."""
        return self.llm is None or bool(self.llm.errored)

    def start(self, kv_bytes: int, log: Log) -> None:
        """Returns when the model is loaded. kv_bytes: KV memory that it may take.

        Raises BadModel with vLLM's own reason.
        """
        allowed = self.environment.get(hidden.ALLOWED, os.environ.get(hidden.ALLOWED))
        self.deaf = hidden.missing(allowed)
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM

            args = AsyncEngineArgs(**{"kv_cache_memory_bytes": self._kv(kv_bytes), **self.options})
            with environment(self.environment):
                self.llm = AsyncLLM.from_engine_args(args)
        except Exception as error:  # of many kinds, some from other processes
            reason = log.reason() or line(error)
            raise BadModel(f"vLLM cannot run {self.shape.source}: {reason}") from error
        self._context = self.llm.vllm_config.model_config.max_model_len
        cache = self.llm.vllm_config.cache_config
        self._room = (cache.num_gpu_blocks - 1, cache.block_size)  # vLLM keeps one for itself

    def _kv(self, kv_bytes: int) -> int:
        """No more than all rows can ever fill."""
        rows: int = self.options["max_num_seqs"]
        return min(kv_bytes, self.token_bytes * (rows + 1) * (self.shape.max_length + BLOCK))

    def stop(self) -> None:
        """End its processes; it takes vLLM some seconds."""
        llm, self.llm = self.llm, None
        if llm is None:
            return
        reader = llm.output_handler
        if reader is not None:  # it takes the end of the process for an accident
            reader.get_loop().call_soon_threadsafe(reader.cancel)
        llm.shutdown()

    def holds(self, lengths: Iterable[int]) -> bool:
        """Whether KV memory holds rows of these lengths together."""
        blocks, size = self._room
        return sum(-(-length // size) for length in lengths) <= blocks


def line(error: Exception) -> str:
    """What vLLM said, in one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:LINES]) if lines else repr(error)


def limits_of(sides: Mapping[Side, VllmSide]) -> RowLimits:
    """Of sides that run."""
    return RowLimits(
        sides,
        {side: one.limit for side, one in sides.items()},
        {side: one.bytes for side, one in sides.items()},
    )
