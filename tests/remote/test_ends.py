"""Whoever of the two processes ends, and however: nobody hangs, and nothing is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch.api import Stitch, load
from rstitch.engine.request import Request
from rstitch.errors import SideLost
from rstitch.policy import make
from rstitch.remote import process as process_module
from rstitch.remote.engine import RemoteEngine
from rstitch.remote.process import Process, ahead
from rstitch.remote.serving import ORPHANED
from rstitch.types import Failed, Finished, Side, Token
from tests.pair import QUESTION, TAU, pair
from tests.passes import Hangs, Raises, Slow, obeying, running_as

PROC = Path("/proc/self/fd")
PARENT = f"""
import sys
from rstitch.api import load
found = load(slm=sys.argv[1], llm=sys.argv[2], tau={TAU}, process=True)
stream = found.stream({QUESTION!r}, max_tokens=200, ignore_eos=True)
next(stream)
print(found.engine.process.pid, flush=True)
input()
"""


def opened(**settings: Any) -> Stitch:
    return load(**pair().names, tau=TAU, process=True, max_rows=8, **settings)


def process(on: Stitch) -> int:
    assert isinstance(on.engine, RemoteEngine)
    return on.engine.process.pid


def children() -> list[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return [int(one) for file in lists for one in file.read_text().split()]


def alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(what: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.01)


def long(on: Stitch) -> Request:
    rule = make("entropy", tau=TAU)
    return Request(on.prompts(QUESTION, policy=rule), rule, max_tokens=200, ignore_eos=True)


@pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes as Linux shows them")
def test_a_process_that_was_started_ahead_is_the_next_one() -> None:
    before = set(children())
    with ahead():
        (begun,) = set(children()) - before
        with opened() as one, opened() as two:
            assert process(one) == begun != process(two)
            assert one.generate(QUESTION, max_tokens=3).usage.tokens == 3
        assert not alive(begun)


@pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes as Linux shows them")
def test_one_that_was_started_ahead_and_is_not_needed_ends() -> None:
    before = set(children())
    with ahead():
        (begun,) = set(children()) - before
        assert alive(begun)
    assert not alive(begun) and not process_module._ahead


@pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes as Linux shows them")
def test_nothing_is_left() -> None:
    """Closed with rows in flight: they end as cancelled, and neither process nor handle stays."""
    before = len(os.listdir(PROC))
    with opened() as found:
        pid, names = process(found), [found.engine.submit(long(found)) for _ in range(3)]
        found.engine.close()
        ends = [one for one in found.engine.step() if not isinstance(one, Token)]
        assert sorted(one.request for one in ends) == names
        assert all(isinstance(one, Finished) and one.reason == "cancelled" for one in ends)
        assert found.engine.idle and not alive(pid)
    assert len(os.listdir(PROC)) == before


def test_whoever_waits_is_told_that_it_was_killed() -> None:
    with opened() as found:
        stream = found.stream(QUESTION, max_tokens=200, ignore_eos=True)
        next(stream)
        os.kill(process(found), signal.SIGKILL)
        with pytest.raises(SideLost, match="SIGKILL"):
            stream.result()
        with pytest.raises(SideLost, match="SIGKILL"):
            found.generate(QUESTION)
        assert found.engine.idle
        assert found.engine.stats()["lost"].keys() == {"slm", "llm"}


def test_a_reader_of_events_is_told_even_where_nothing_was_in_flight() -> None:
    async def read(on: Stitch) -> list[object]:
        return [event async for event in on.engine.events()]

    with opened() as found:
        os.kill(process(found), signal.SIGKILL)
        with pytest.raises(SideLost, match="SIGKILL"):
            asyncio.run(asyncio.wait_for(read(found), 30))


def test_signals_for_all_of_a_service_leave_it_alone() -> None:
    with opened() as found:
        for one in (signal.SIGINT, signal.SIGTERM):
            os.kill(process(found), one)
        assert found.generate(QUESTION, max_tokens=4).usage.tokens == 4


@pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_it_ends_with_its_parent(name: str) -> None:
    command = [sys.executable, "-c", PARENT, str(pair().slm), str(pair().llm)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as parent:
        assert parent.stdout is not None and parent.stderr is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(getattr(signal, name))
        until(lambda: not alive(pid))
        assert parent.wait(10) == -getattr(signal, name)
        assert parent.stderr.read() == ""


def test_one_that_hangs_while_it_closes_ends_with_its_parent_too(tmp_path: Path) -> None:
    """As where a device hangs: whoever waits for it gives up at some time."""
    with obeying():
        found = opened()
    engine, begun = found.engine, tmp_path / "begun"
    assert isinstance(engine, RemoteEngine)
    child = engine.process
    with running_as(engine, Hangs(begun)):
        engine.submit(long(found))
        until(begun.exists)
        engine._send("close")
        with socket.socket(fileno=os.dup(child._pipe.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)  # as the system does for a parent that is gone
        engine._reader.join(30)
    assert child._process.returncode == ORPHANED, "it had to be killed"


def test_one_that_ends_while_it_loads_is_told() -> None:
    """As where the machine has no memory for the weights."""

    class Stopped(Process):
        def send(self, message: object) -> None:
            self._process.kill()
            self._process.wait()
            super().send(message)

    with pytest.raises(SideLost, match="while the pair was loaded.*SIGKILL"):
        Stopped(pair().names)


def test_a_message_within_a_message_waits_for_its_end() -> None:
    """As where the memory of a stream that nobody holds is cleared up while another is sent."""
    with opened() as found:
        process = found.engine.process  # type: ignore[attr-defined]
        whole, nested = process._pipe.send_bytes, list[int]()

        def interrupted(data: bytes) -> None:
            if not nested:
                nested.append(1)
                found.engine.cancel("r99")
            whole(data)

        process._pipe.send_bytes = interrupted
        assert found.generate(QUESTION, max_tokens=4).usage.tokens == 4 and nested


def test_what_was_asked_too_late_is_told_so() -> None:
    """The process has ended, and its reader has not heard of it yet."""
    with opened() as found:
        os.kill(process(found), signal.SIGKILL)
        try:
            name = found.engine.submit(long(found))
        except SideLost:
            return
        end = time.monotonic() + 10
        events = []
        while not found.engine.idle and time.monotonic() < end:
            events += found.engine.step()
        assert [type(one) for one in events] == [Failed] and events[0].request == name


def test_what_needs_a_side_that_is_lost_there_is_refused_here() -> None:
    with opened() as found:
        engine = found.engine
        assert isinstance(engine, RemoteEngine)
        engine._faults.lost[Side.LLM] = "the LLM is lost: gone"
        with pytest.raises(SideLost, match="gone"):
            engine.submit(long(found))


def test_a_loss_is_known_with_what_comes_of_it() -> None:
    """Though no answer fails by it, and others keep the engine at work."""
    with obeying(), opened(measure_costs=False) as found:
        engine, asked = found.engine, long(found)
        rule = make("entropy", tau=0.0)
        slow = running_as(engine, Slow(0.005))
        with slow, running_as(engine, Raises("CUDA error: gone"), [Side.LLM]):
            engine.submit(replace(asked, policy=make("slm")))
            name = engine.submit(replace(asked, policy=rule, max_tokens=1, may_degrade=True))
            ends = list[Finished]()
            while not ends:
                ends += [
                    one
                    for one in engine.step()
                    if isinstance(one, Finished) and one.request == name
                ]
            assert engine.stats()["lost"].keys() == {"llm"} and not engine.idle
        assert ends[0].usage.degraded
