"""What comes through the pipe: every kind of event whole, errors as what they are, and what an
engine's own failure, which no pair can be made to have, does to those who wait."""

from __future__ import annotations

import asyncio
import pickle
import queue
from collections.abc import Iterator
from typing import Any, cast

import pytest

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts
from rstitch.errors import BadPolicy, OutOfMemory, SideLost
from rstitch.places import places
from rstitch.remote.engine import RemoteEngine
from rstitch.remote.process import Process
from rstitch.remote.side import RemoteSide
from rstitch.remote.wire import Shape, Status, caused, packed, told, unpacked
from rstitch.server import logs
from rstitch.types import Event, Failed, Finished, Forward, Proposal, Side, Token, Usage

PLAIN = Proposal(3, 17, Side.SLM, True, Side.LLM, 0.25, -0.5, {})
FULL = Proposal(
    3, 17, Side.LLM, False, Side.SLM, 0.25, -0.5, {"coin": 0.5}, ((1, -0.1),), (-3.0,), 1, True
)
USAGE = Usage(10, 1, 2, 3, 4, 5, 0.5, 6, True, 7, 8)
PASSES = (Forward(Side.SLM, 2, 3, 4, 5, 0.6), Forward(Side.LLM, 1, 1, 1, 1, 0.1))
SHAPE = Shape(97, 256, 8, 256, 4096)
IDLE = {"active": 0, "waiting": {"slm": 0, "llm": 0}, "queued": 0, "steps": 0, "lost": {}, "kv": {}}


def across(event: Event) -> Event:
    return unpacked(pickle.loads(pickle.dumps(packed(event))))


@pytest.mark.parametrize(
    "event",
    [
        Token("r1", PLAIN, "x", 0.5),
        Token("r1.2", FULL, "", 0.5),
        Finished("r1", "stop", USAGE, "tail", PASSES),
        Finished("r1", "cancelled", USAGE, ""),
    ],
)
def test_events_arrive_as_they_were(event: Event) -> None:
    found = across(event)
    assert found == event
    if isinstance(found, Token):
        assert type(found.proposal.side) is type(found.proposal.next_side) is Side


class Strange(Exception):
    """Of a user's own, and not to be made from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (SideLost("the LLM is lost: gone"), SideLost, "the LLM is lost: gone"),
        (OutOfMemory("too much"), OutOfMemory, "too much"),
        (BadPolicy("wrong"), BadPolicy, "wrong"),
        (ValueError("no"), ValueError, "no"),
        (KeyError("no"), RuntimeError, "KeyError: 'no'"),
        (Strange(1, 2), RuntimeError, "Strange: 1 and 2"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), RuntimeError, "UnicodeDecodeError: "),
    ],
)
def test_errors_arrive_as_what_they_are(error: Exception, kind: type, text: str) -> None:
    found = across(Failed("r1", error, PASSES))
    assert isinstance(found, Failed) and found.forwards == PASSES and found.request == "r1"
    assert type(found.error) is kind and str(found.error).startswith(text)


def test_a_log_has_the_place_of_what_nobody_foresaw(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks() -> None:
        raise ValueError("secret")

    try:
        breaks()
    except ValueError as error:
        found = caused(*pickle.loads(pickle.dumps(told(error))))
    assert any(place.endswith(" breaks") for place in places(found))
    logs.install("text")
    logs.problem(found)
    shown = capsys.readouterr().err
    assert "in the engine's process" in shown and " breaks" in shown and "secret" not in shown


class Said:
    """A process that says what a test wants it to."""

    def __init__(self) -> None:
        self.status = Status(IDLE, dict.fromkeys(Side, (0.0,)), dict.fromkeys(Side, 0.0))
        self.words: queue.Queue[Any] = queue.Queue()
        self.heard: list[Any] = []

    def send(self, message: Any) -> None:
        self.heard.append(message)

    def receive(self) -> Any:
        found = self.words.get(timeout=10)
        if found is None:
            raise EOFError
        return found

    def ending(self) -> str:
        return "it ended"

    def wait(self) -> None:
        self.words.put(None)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def engine(said: Said) -> Iterator[RemoteEngine]:
    sides = dict.fromkeys(Side, RemoteSide(cast(Process, said), SHAPE))
    made = RemoteEngine(sides, {}, EngineConfig(), {})
    yield made
    made.close()


def test_an_engine_that_fails_is_no_longer_waited_for(said: Said, engine: RemoteEngine) -> None:
    engine._open.add("r0")
    said.words.put(("events", [packed(Token("r0", PLAIN, "x", 0.5))], None))
    said.words.put(("broken", told(AssertionError("no row can go on"))))

    async def read() -> list[Event]:
        found: list[Event] = []
        with pytest.raises(AssertionError, match="no row can go on"):
            async for event in engine.events():
                found.append(event)
        return found

    assert len(asyncio.run(asyncio.wait_for(read(), 10))) == 1
    with pytest.raises(AssertionError, match="no row can go on"):
        engine.step()
    engine.close()
    assert not engine._reader.is_alive()


def test_what_cannot_be_read_hangs_nobody(said: Said, engine: RemoteEngine) -> None:
    engine._open.add("r0")
    said.words.put(("events", [("r0",)], None))
    engine._reader.join(10)
    (end,) = engine.step()
    assert isinstance(end, Failed) and "cannot be read" in str(end.error)
    with pytest.raises(SideLost, match="cannot be read"):
        asyncio.run(asyncio.wait_for(anext(aiter(engine.events())), 10))  # type: ignore[arg-type]


def test_a_measuring_that_fails_says_so_here(said: Said, engine: RemoteEngine) -> None:
    said.words.put(("measured", None, told(OutOfMemory("too much"))))
    engine._measured.exception(10)
    said.send = lambda message: said.words.put(  # type: ignore[method-assign]
        ("measured", LinearCosts((1.0, 2.0), (0.0, 0.0)), None)
    )
    assert engine.measure().base == (1.0, 2.0)
    said.send = lambda message: said.words.put(None)  # type: ignore[method-assign]
    with pytest.raises(SideLost, match="it ended"):
        engine.measure()


def test_what_it_has_not_begun_is_queued(said: Said, engine: RemoteEngine) -> None:
    """Though the last that was heard is that it is idle, so that nobody takes it for well."""
    engine._open.update(("r0", "r1"))
    assert engine.stats() == {**IDLE, "queued": 2} and not engine.idle


def test_what_is_open_when_it_is_killed_at_the_close_has_an_end(
    said: Said, engine: RemoteEngine
) -> None:
    engine._open.add("r0")
    engine.close()
    (end,) = engine.step()
    assert isinstance(end, Failed) and end.request == "r0" and engine.idle
