"""Functions of fixed buffers, captured once and replayed; called where there is no CUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch

from rstitch.engine import faults

log = logging.getLogger(__name__)

WARM_UP = 2
"""Calls before a capture: kernels are compiled and libraries set up, which no graph may hold."""


class Kept(NamedTuple):
    function: Callable[[], None]
    """A graph reads the tensors that it made before the capture, which it alone owns."""
    replay: Callable[[], None]


class Graphs:
    """Replays by key. All graphs share their memory: they never run at the same time."""

    def __init__(self, device: torch.device, enabled: bool = True) -> None:
        """Not `enabled`, functions are called on CUDA too, for comparison."""
        self.device = device
        self.captures = enabled and device.type == "cuda"
        self._kept: dict[Hashable, Kept] = {}
        self._memory: Any = torch.cuda.graph_pool_handle() if self.captures else None
        self._stream: Any = torch.cuda.Stream(device) if self.captures else None

    def get(
        self, key: Hashable, make: Callable[[], Callable[[], None]], rest: Callable[[], None]
    ) -> Callable[[], None]:
        """The replay of that key. At first `make` gives the function; `rest` is called before it
        runs, so that what it does then, nobody sees."""
        if key not in self._kept:
            rest()
            function = make()
            self._kept[key] = Kept(function, self._replay_of(function))
        return self._kept[key].replay

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all: what they refer to has moved."""
        self._kept.clear()

    def _replay_of(self, function: Callable[[], None]) -> Callable[[], None]:
        """The function itself where it cannot be captured: slower, and as right. Raises what it
        raises when it is called, and what says that memory ran out."""
        if not self.captures:
            function()  # as a capture's warm-up does: memory that is made on first use is made now
            return function
        self._warm(function)
        try:
            return self._captured(function)
        except RuntimeError as error:
            if faults.kind(error) == "memory":
                raise
            line = str(error).partition("\n")[0]
            log.warning("a step cannot be captured, it is launched piece by piece: %s", line)
            self._memory = torch.cuda.graph_pool_handle()  # the other may be left half open
            return function

    def _warm(self, function: Callable[[], None]) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream(self.device).wait_stream(self._stream)

    def _captured(self, function: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
            function()
        replay: Callable[[], None] = graph.replay
        return replay
