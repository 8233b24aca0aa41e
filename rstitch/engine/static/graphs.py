"""Functions of fixed buffers, captured once and replayed; called where there is no CUDA."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

WARM_UP = 2
"""Calls before a capture: kernels are compiled and libraries set up, which no graph may hold."""


class Graphs:
    """Replays by key. All graphs share their memory: they never run at the same time."""

    def __init__(self, device: torch.device, enabled: bool = True) -> None:
        """Not `enabled`, functions are called on CUDA too, for comparison."""
        self.device = device
        self.captures = enabled and device.type == "cuda"
        self._replays: dict[Hashable, Callable[[], None]] = {}
        self._memory: Any = torch.cuda.graph_pool_handle() if self.captures else None

    def get(
        self, key: Hashable, make: Callable[[], Callable[[], None]], rest: Callable[[], None]
    ) -> Callable[[], None]:
        """The replay of that key. At first `make` gives the function; `rest` is called before it
        runs, so that what it does then, nobody sees."""
        if key not in self._replays:
            rest()
            self._replays[key] = self._captured(make())
        return self._replays[key]

    def __contains__(self, key: Hashable) -> bool:
        return key in self._replays

    def clear(self) -> None:
        """Forget all: what they refer to has moved."""
        self._replays.clear()

    def _captured(self, function: Callable[[], None]) -> Callable[[], None]:
        if not self.captures:
            function()  # as a capture's warm-up does: memory that is made on first use is made now
            return function
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            function()
        replay: Callable[[], None] = graph.replay
        return replay
