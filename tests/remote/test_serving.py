"""The engine's process from within: what is asked of it, and whose thread does it."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from rstitch.engine.request import Request
from rstitch.errors import Closed
from rstitch.policy import make
from rstitch.remote import asked, serving
from rstitch.remote.serving import Pipe, Serving
from tests.fakes import EOS, PROMPTS, says, scripted, sure


class Asks(Pipe):
    """The other end says these, and closes once it has heard `last`."""

    def __init__(self, last: str, *messages: tuple[Any, ...]) -> None:
        self.last, self.sent = last, list[tuple[Any, ...]]()
        self.asked: queue.Queue[tuple[Any, ...]] = queue.Queue()
        for one in messages:
            self.asked.put(one)

    def send(self, *message: Any) -> None:
        self.sent.append(message)
        if message[0] == self.last:
            self.asked.put(("close",))

    def receive(self) -> tuple[Any, ...]:
        return self.asked.get()


def test_the_thread_that_has_loaded_does_all_that_computes() -> None:
    """A second one would have helpers of its own, and OpenMP lets them all sleep then."""
    request = Request(PROMPTS, make("slm"), max_tokens=4)
    engine = scripted(says(sure(9), sure(EOS)), says())
    threads = set[threading.Thread]()
    for runner in engine.runners.values():
        whole = runner.extend

        def noted(batch: Any, *rest: Any, whole: Any = whole) -> Any:
            threads.add(threading.current_thread())
            return whole(batch, *rest)

        runner.extend = noted  # type: ignore[method-assign]
    submit = ("submit", "r0", 1, "slm", 0.0, asked.dumps(request))
    pipe = Asks("measured", submit, ("measure",))
    Serving(pipe, engine).run()
    assert threads == {threading.current_thread()}
    events = [event for what, *rest in pipe.sent if what == "events" for event in rest[0]]
    assert [event[0] for event in events] == ["r0"] * 3
    assert pipe.sent[-2][0] == "measured" and pipe.sent[-2][2] is None


def test_an_engine_that_breaks_says_so_and_waits_to_be_closed() -> None:
    engine = scripted(says(sure(9)), says())

    def breaks() -> Any:
        raise AssertionError("no row can go on")

    engine.steps = breaks  # type: ignore[method-assign]
    request = Request(PROMPTS, make("slm"), max_tokens=4)
    pipe = Asks("broken", ("submit", "r0", 1, "slm", 0.0, asked.dumps(request)))
    pipe.asked.put(("measure",))
    Serving(pipe, engine).run()
    with pytest.raises(Closed):
        engine.check(request)
    (refused,) = [rest for what, *rest in pipe.sent if what == "measured"]
    assert engine.idle and refused[0] is None and "no row can go on" in str(refused[1][0])
    ((error, _),) = [rest[0] for what, *rest in pipe.sent if what == "broken"]
    assert isinstance(error, RuntimeError | AssertionError) and "no row can go on" in str(error)


def test_a_process_that_can_hear_no_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(serving.os, "_exit", statuses.append)
    Serving(Asks("", ("nonsense",)), scripted(says(), says()))._listen()
    assert statuses == [serving.FAILED]
