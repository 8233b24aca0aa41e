"""`rstitch serve` on vLLM: the same replies, and what it does when the LLM's process is killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rstitch.api import Stitch, load
from rstitch.types import Side
from tests.vllm.asking import kill, needs_vllm

pytest.importorskip("fastapi", reason="fastapi is not installed")
from tests.server.serving import CHAT, QUESTION, Running, asking, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    needs_vllm()
    stitch = load(engine="vllm", max_rows=4)
    with serving(stitch, failures={"on_side_failure": "finish"}) as running:
        yield running


def test_replies_and_streams_are_those_of_the_engine_here(
    server: Running, reference: Stitch
) -> None:
    answer = reference.generate(QUESTION)
    reply = server.chat(logprobs=True, top_logprobs=2)
    (choice,) = reply["choices"]
    assert choice["message"]["reasoning"] == answer.reasoned.reasoning
    assert reply["rstitch"]["llm_share"] == answer.usage.llm_share
    assert len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    parts = [
        choice["delta"].get("reasoning") or ""
        for chunk in server.chunks(CHAT, asking())
        for choice in chunk["choices"]
    ]
    assert "".join(parts) == answer.reasoned.reasoning
    assert server.idle()


def test_it_tells_of_itself(server: Running) -> None:
    assert server.http.get("/ready").status_code == 200
    assert server.metrics()['rstitch_tokens_total{side="llm"}'] > 0
    error = server.refused(CHAT, asking(presence_penalty=1.0))
    assert "presence_penalty" in error["message"]


def test_without_the_llm_the_slm_finishes(server: Running) -> None:
    """The last test of this module: the LLM does not come back."""
    kill(server.stitch, Side.LLM)
    extra: dict[str, Any] = server.chat(max_tokens=30)["rstitch"]
    assert extra["degraded"]
    assert extra["llm_tokens"] == 0 or extra["slm_tokens"] > 0
    assert "the LLM is lost" in server.stitch.engine.stats()["lost"]["llm"]
    assert server.http.get("/ready").status_code == 503
    assert server.chat(max_tokens=30)["rstitch"]["degraded"]
