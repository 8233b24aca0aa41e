"""An engine process is killed: who needs its model ends with SideLost, who does not goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from rstitch.api import Stitch, load
from rstitch.engine.request import Request
from rstitch.errors import SideLost
from rstitch.policy import make
from rstitch.types import Event, Failed, Finished, Sampling, Side
from tests.vllm.asking import kill, needs_vllm

PROMPTS = {side: tuple(range(20, 40)) for side in Side}
LONG: dict[str, Any] = {"sampling": Sampling(seed=1), "max_tokens": 400, "ignore_eos": True}
BOTH = make("random", p=0.2, q=0.2)


def read(stitch: Stitch, events: dict[str, list[Event]], seconds: float = 60.0) -> None:
    """Until every answer has its end. Fails where one hangs."""
    until = time.monotonic() + seconds
    while not stitch.engine.idle:
        assert time.monotonic() < until, f"hanging: {stitch.engine.stats()}"
        for event in stitch.engine.step():
            events.setdefault(event.request, []).append(event)


@pytest.fixture
def stitch() -> Iterator[Stitch]:
    needs_vllm()
    with load(engine="vllm", max_rows=4) as found:
        yield found


def test_without_the_llm(stitch: Stitch) -> None:
    """Four are in flight and three wait when it is killed; then nothing needs it any more."""
    engine, events = stitch.engine, dict[str, list[Event]]()
    asked = {
        engine.submit(Request(PROMPTS, policy, may_degrade=degrades, **LONG)): kind
        for kind, policy, degrades in (
            ("degrades", BOTH, True),
            ("needs", BOTH, False),
            ("needs", make("llm"), True),
            ("alone", make("slm"), False),
            ("degrades", BOTH, True),
            ("needs", BOTH, False),
            ("alone", make("slm"), False),
        )
    }
    while len(events) < 4:
        for event in engine.step():
            events.setdefault(event.request, []).append(event)
    kill(stitch, Side.LLM)
    read(stitch, events)
    for name, kind in asked.items():
        end = events[name][-1]
        if kind == "needs":
            assert isinstance(end, Failed), (name, end)
            assert isinstance(end.error, SideLost)
        else:
            assert isinstance(end, Finished), (name, end)
            assert end.reason == "length"
            assert end.usage.tokens == 400
            assert end.usage.degraded == (kind == "degrades")
    assert "the LLM is lost" in engine.stats()["lost"]["llm"]
    with pytest.raises(SideLost, match="the LLM is lost"):
        engine.submit(Request(PROMPTS, BOTH, **LONG))
    name = engine.submit(Request(PROMPTS, BOTH, may_degrade=True, **LONG))
    read(stitch, events)
    assert isinstance(events[name][-1], Finished)


def test_without_the_slm(stitch: Stitch) -> None:
    engine, events = stitch.engine, dict[str, list[Event]]()
    both = engine.submit(Request(PROMPTS, BOTH, may_degrade=True, **LONG))
    llm = engine.submit(Request(PROMPTS, make("llm"), **LONG))
    while len(events) < 2:
        for event in engine.step():
            events.setdefault(event.request, []).append(event)
    kill(stitch, Side.SLM)
    read(stitch, events)
    assert isinstance(events[llm][-1], Finished)
    end = events[both][-1]
    assert isinstance(end, Failed)
    assert isinstance(end.error, SideLost)
