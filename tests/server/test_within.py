"""Share, tokens and deadline: the controller of the policy layer, by the key `rstitch`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.serving import CHAT, Running, asking, slowly


@pytest.fixture
def server(either: Running) -> Running:
    return either


def test_a_ceiling_holds(server: Running) -> None:
    free = server.chat(rstitch={"tau": 0.001})["rstitch"]
    assert free["llm_share"] > 0.1
    held = server.chat(rstitch={"tau": 0.001, "max_llm_share": 0.05})["rstitch"]
    assert held["policy"] == "steered" and held["llm_share"] <= 0.07
    few = server.chat(rstitch={"tau": 0.001, "max_llm_tokens": 1})["rstitch"]
    assert few["llm_tokens"] <= 1
    assert server.chat(rstitch={"max_llm_tokens": 0})["rstitch"]["llm_tokens"] == 0


def test_a_deadline_that_is_over_leaves_the_llm_out(server: Running) -> None:
    """The SLM alone goes on; it is no error."""
    reply = server.chat(rstitch={"tau": 0.001, "deadline": 1e-6})
    assert reply["rstitch"]["llm_tokens"] == 0
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert server.chat(rstitch={"tau": 0.001, "deadline": 60})["rstitch"]["llm_tokens"] > 0


def test_the_queue_counts(server: Running) -> None:
    """What a request waits for its turn is taken off its deadline."""
    with slowly(server.stitch, 0.01):
        first = server.connect(CHAT, asking(n=8, temperature=2.0, max_tokens=60))
        server.until(lambda: server.active == 8)
        reply = server.chat(rstitch={"tau": 0.001, "deadline": 0.05})
        first.close()
    assert reply["rstitch"]["queue_seconds"] > 0.05
    assert reply["rstitch"]["llm_tokens"] == 0


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"max_llm_share": 1.1}, "rstitch.max_llm_share"),
        ({"max_llm_tokens": -1}, "rstitch.max_llm_tokens"),
        ({"deadline": 0}, "rstitch.deadline"),
        ({"policy": "window", "tau": 0.1, "deadline": 1}, "rstitch.deadline"),
    ],
)
def test_what_cannot_be_held(server: Running, extra: dict[str, Any], param: str) -> None:
    assert server.refused(CHAT, asking(rstitch=extra))["param"] == param


def test_the_same_limits_are_one_fingerprint(server: Running) -> None:
    ways: list[dict[str, Any]] = [{"deadline": 60}, {"deadline": 60}, {"deadline": 61}, {}]
    prints = [server.chat(max_tokens=1, rstitch=one)["system_fingerprint"] for one in ways]
    assert prints[0] == prints[1] and len(set(prints)) == 3
