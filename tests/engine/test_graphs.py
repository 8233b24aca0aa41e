"""Keeping and capturing functions of fixed buffers, with CUDA's part faked: no GPU is needed."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from rstitch.engine.static.graphs import WARM_UP, Graphs


class Device:
    """What `Graphs` asks of CUDA. A capture runs the function once; a replay is counted."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        """Raised at the end of a capture."""
        self.streams = self.replays = 0
        self.captured_on: list[Any] = []

    def Stream(self, device: Any) -> Any:
        self.streams += 1
        return self

    def wait_stream(self, other: Any) -> None: ...

    def CUDAGraph(self) -> Any:
        return self

    def replay(self) -> None:
        self.replays += 1

    @contextmanager
    def graph(self, graph: Any, pool: Any, stream: Any) -> Iterator[None]:
        self.captured_on.append(stream)
        yield
        if self.fault:
            raise self.fault


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    for name in ("Stream", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: object())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: made)

    @contextmanager
    def entered(stream: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(torch.cuda, "stream", entered)
    return made


class Function:
    """Owns a tensor, as a step does."""

    def __init__(self) -> None:
        self.tensor, self.calls = torch.zeros(3), 0

    def __call__(self) -> None:
        self.calls += 1


def nothing() -> None: ...


def test_what_a_graph_reads_lives_as_long_as_the_graph(device: Device) -> None:
    """A graph knows addresses alone; whoever owns what lies there has to stay."""
    graphs, made = Graphs(torch.device("cuda")), [Function()]
    tensor = weakref.ref(made[0].tensor)
    replay = graphs.get("a", made.pop, nothing)
    gc.collect()
    replay()
    assert device.replays == 1 and tensor() is not None
    graphs.clear()
    gc.collect()
    assert tensor() is None, "cleared, and still there"


def test_all_captures_take_one_stream(device: Device) -> None:
    graphs = Graphs(torch.device("cuda"))
    for key in "abc":
        graphs.get(key, Function, nothing)
    assert device.streams == 1 and device.captured_on == [device] * 3 and len(graphs) == 3


def test_what_cannot_be_captured_is_called(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, one attempt; the side is not lost by it."""
    device.fault = RuntimeError("CUDA error: operation not permitted when stream is capturing\nhm")
    graphs, function = Graphs(torch.device("cuda")), Function()
    with caplog.at_level(logging.WARNING, "rstitch"):
        graphs.get("a", lambda: function, nothing)
        calls = function.calls
        assert calls == WARM_UP + 1
        graphs.get("a", lambda: function, nothing)()
    assert function.calls == calls + 1 and device.replays == 0
    assert caplog.text.count("cannot be captured") == 1 and "hm" not in caplog.text


@pytest.mark.parametrize(
    "fault", [torch.OutOfMemoryError("no"), RuntimeError("CUDA error: out of memory")]
)
def test_memory_that_runs_out_in_a_capture_is_told(device: Device, fault: Exception) -> None:
    """It is a fault of these rows; with more memory the same step is tried again."""
    device.fault, graphs = fault, Graphs(torch.device("cuda"))
    with pytest.raises(type(fault)):
        graphs.get("a", Function, nothing)
    assert "a" not in graphs
    device.fault = None
    graphs.get("a", Function, nothing)()
    assert device.replays == 1


def test_without_cuda_the_function_is_called_and_rests_first() -> None:
    calls: list[str] = []
    graphs = Graphs(torch.device("cpu"))

    def make_it() -> Any:
        calls.append("make")
        return lambda: calls.append("run")

    replay = graphs.get("a", make_it, lambda: calls.append("rest"))
    assert calls == ["rest", "make", "run"] and "a" in graphs
    graphs.get("a", make_it, lambda: calls.append("rest"))()
    assert calls == ["rest", "make", "run", "run"] and replay
    graphs.clear()
    assert "a" not in graphs
