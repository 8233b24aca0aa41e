"""A side that fails: what runs out of memory is recovered, what is lost is told truly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from rstitch.types import Side
from tests.passes import Raises, running_as
from tests.server.serving import CHAT, Running, asking, serving, slowly

MEMORY = "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."
DEVICE = "CUDA error: an illegal memory access was encountered"


@pytest.fixture(params=[False, True], ids=["here", "apart"], scope="module")
def process(request: pytest.FixtureRequest) -> bool:
    """Whether the engine has a process of its own."""
    return bool(request.param)


@pytest.mark.parametrize("stream", [True, False])
def test_out_of_memory_ends_one_request_and_not_the_server(either: Running, stream: bool) -> None:
    with running_as(either.stitch.engine, Raises(MEMORY), [Side.LLM]):
        answer = either.http.post(CHAT, json=asking(stream=stream))
        if stream and answer.status_code == 200:
            assert '"code":"out_of_memory"' in answer.text and "[DONE]" not in answer.text
        else:
            assert answer.status_code == 503 and "retry-after" in answer.headers
            assert answer.json()["error"]["code"] == "out_of_memory"
        assert either.chat()["choices"][0]["finish_reason"] == "stop"
    assert either.http.get("/ready").status_code == 200


def test_a_lost_side_ends_what_is_in_flight_and_the_server(process: bool) -> None:
    with serving(process=process) as running:
        found: list[httpx.Response] = []

        def ask(model: str) -> None:
            body = asking(model=model, temperature=2.0, max_tokens=300)
            found.append(running.http.post(CHAT, json=body))

        with (
            slowly(running.stitch),
            running_as(running.stitch.engine, Raises(DEVICE, 5, always=True), [Side.LLM]),
        ):
            names = ("builtin", "builtin-slm", "builtin-llm")
            threads = [threading.Thread(target=ask, args=(name,)) for name in names]
            started = time.monotonic()
            for thread in threads:
                thread.start()
            running.thread.join(20)
            for thread in threads:
                thread.join()
        assert not running.thread.is_alive() and time.monotonic() - started < 15
        assert running.server.status == 1
        assert [one.status_code for one in found] == [503] * 3
        assert all("retry-after" in one.headers for one in found)
        codes = {one.json()["error"]["code"] for one in found}
        assert codes <= {"side_lost", "unavailable"} and "side_lost" in codes


@pytest.fixture(scope="module")
def degraded(process: bool) -> Iterator[Running]:
    """A server that goes on, and whose LLM was lost in its first stitched answer."""
    with serving(process=process, failures={"on_side_failure": "finish"}) as running:
        with running_as(running.stitch.engine, Raises(DEVICE, always=True), [Side.LLM]):
            reply = running.chat()
            assert reply["rstitch"]["degraded"] and reply["usage"]["degraded"]
            assert reply["choices"][0]["finish_reason"] == "stop"
            assert reply["rstitch"]["llm_tokens"] == 0
            yield running


def test_it_says_so_in_every_answer(degraded: Running) -> None:
    before = degraded.metrics()["rstitch_degraded_total"]
    answer = degraded.http.post(CHAT, json=asking())
    assert answer.status_code == 200 and answer.headers["x-rstitch-degraded"] == "llm"
    assert answer.json()["usage"]["degraded"] and answer.json()["rstitch"]["degraded"]
    chunks = degraded.chunks(CHAT, asking())
    assert chunks[-1]["rstitch"]["degraded"]
    assert degraded.metrics()["rstitch_degraded_total"] == before + 2
    ready = degraded.http.get("/ready")
    assert ready.status_code == 503 and "LLM is lost" in ready.json()["error"]["message"]


def test_what_needs_the_llm_is_refused_and_the_slm_is_itself(degraded: Running) -> None:
    refused = degraded.http.post(CHAT, json=asking(model="builtin-llm"))
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "side_lost"
    answer = degraded.http.post(CHAT, json=asking(model="builtin-slm"))
    assert answer.status_code == 200 and "x-rstitch-degraded" not in answer.headers
    assert "degraded" not in answer.json()["usage"]


def test_a_lost_slm_ends_the_server_even_so(process: bool) -> None:
    with serving(process=process, failures={"on_side_failure": "finish"}) as running:
        with running_as(running.stitch.engine, Raises(DEVICE, always=True), [Side.SLM]):
            answer = running.http.post(CHAT, json=asking())
            assert answer.status_code == 503
            running.thread.join(20)
        assert not running.thread.is_alive() and running.server.status == 1
