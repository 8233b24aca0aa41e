"""What a server does not take, and what it says then."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from tests.server.serving import CHAT, TEXT, Running, asking, serving, slowly


@pytest.fixture(scope="module")
def strict() -> Any:
    limits = {
        "max_prompt_tokens": 60, "max_tokens": 40, "default_max_tokens": 5, "max_n": 2,
        "queue_length": 1, "request_seconds": 1.0, "max_body_bytes": 2048, "max_logit_bias": 1,
    }  # fmt: skip
    bounds = {"tau_min": 0.01, "tau_max": 0.5, "deadline_min": 0.01, "deadline_max": 10.0}
    bounds["policies"] = ("entropy", "hysteresis", "steered", "llm")  # type: ignore[assignment]
    with serving(limits=limits, bounds=bounds) as running:
        yield running


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"messages": [{"role": "user", "content": "a b " * 60}]}, "messages", "at most 60"),
        ({"max_tokens": 41}, "max_tokens", "at most 40"),
        ({"n": 3}, "n", "at most 2"),
        ({"logit_bias": {"5": 1, "6": 1}}, "logit_bias", "at most 1"),
        ({"rstitch": {"tau": 0.001}}, "rstitch.tau", "0.01 to 0.5"),
        ({"model": "builtin@0.6"}, "rstitch.tau", "0.01 to 0.5"),
        ({"model": "builtin-llm"}, "model", "0.01 to 0.5"),
        ({"model": "builtin-slm"}, "model", "SLM alone"),
        ({"rstitch": {"policy": "llm"}}, "rstitch.policy", "0.01 to 0.5"),
        (
            {"rstitch": {"policy": "window"}},
            "rstitch.policy",
            "known here: entropy, hysteresis, steered, llm",
        ),
        (
            {"rstitch": {"policy": {"name": "hysteresis", "tau_out": 0.6, "tau_back": 0.1}}},
            "rstitch.policy",
            "tau_out is 0.6",
        ),
        ({"rstitch": {"deadline": 0.001}}, "rstitch.deadline", "0.01 to 10 seconds"),
        ({"rstitch": {"deadline": 11}}, "rstitch.deadline", "0.01 to 10 seconds"),
        (
            {
                "rstitch": {
                    "policy": {
                        "name": "steered",
                        "tau": 0.02,
                        "deadline": 0.001,
                        "slm_step": 0.1,
                        "llm_step": 0.1,
                    }
                }
            },
            "rstitch.deadline",
            "0.01 to 10 seconds",
        ),
    ],
    ids=str,
)
def test_bounds(strict: Running, fields: dict[str, Any], param: str, says: str) -> None:
    error = strict.refused(CHAT, {**asking("Hi."), **fields})
    assert error["param"] == param and says in error["message"]


def test_what_lies_within(strict: Running) -> None:
    assert strict.chat("Hi.")["usage"]["completion_tokens"] <= 5
    reply = strict.post(TEXT, {"prompt": "Hi."})
    assert reply["usage"]["completion_tokens"] <= 16
    assert strict.chat("Hi.", rstitch={"tau": 0.5})["rstitch"]["tau"] == 0.5
    held = strict.chat("Hi.", rstitch={"max_llm_share": 0.0001})["rstitch"]
    assert 0.01 <= held["tau"] <= 0.5


def test_a_body_that_is_too_long(strict: Running) -> None:
    assert strict.refused(CHAT, asking("a" * 2048), 413)["code"] == "too_large"


def test_who_sends_too_much_hears_of_it(strict: Running) -> None:
    """A connection that is closed while it sends would be broken, and the answer lost with it."""
    body, address = json.dumps(asking("a" * 300_000)).encode(), httpx.URL(strict.url)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    with socket.create_connection((address.host, address.port or 80), timeout=10) as line:
        line.sendall(f"{head}content-type: application/json\r\n\r\n".encode())
        for start in range(0, len(body), 30_000):
            line.sendall(body[start : start + 30_000])
            time.sleep(0.01)
        assert b" 413 " in line.recv(100)
    with socket.create_connection((address.host, address.port or 80), timeout=10) as line:
        line.sendall(f"{head}expect: 100-continue\r\n\r\n".encode())
        assert b" 413 " in line.recv(100)


def test_time_is_up(strict: Running) -> None:
    with slowly(strict.stitch, 0.05):
        body = asking("Hi.", max_tokens=40, temperature=2.0, seed=1, n=2)
        answer = strict.http.post(CHAT, json=body)
        assert answer.status_code == 408 and answer.json()["error"]["code"] == "timeout"
        assert answer.headers["x-should-retry"] == "false"
        with strict.http.stream("POST", CHAT, json={**body, "stream": True}) as streamed:
            lines = [line for line in streamed.iter_lines() if line]
        assert streamed.status_code == 200
        assert '"code":"timeout"' in lines[-1] and "[DONE]" not in lines[-1]
        assert strict.idle()


def test_a_full_queue(strict: Running) -> None:
    """8 rows: four requests of two answers run, one waits, the next is told when to come back."""
    body = asking("Hi.", max_tokens=40, temperature=2.0, n=2)
    with slowly(strict.stitch, 0.01):
        threads = [
            threading.Thread(target=strict.http.post, args=(CHAT,), kwargs={"json": body})
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        strict.until(lambda: strict.served.entry.queue.waiting == 1)
        answer = strict.http.post(CHAT, json=body)
        assert answer.status_code == 429, answer.text
        assert answer.json()["error"]["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        for thread in threads:
            thread.join()
    assert strict.metrics()['rstitch_refused_total{reason="queue_full"}'] == 1
    assert strict.idle()


def test_time_is_up_before_its_turn(strict: Running) -> None:
    """It asked for nothing that takes long, so it is told to come again."""
    queue = strict.served.entry.queue
    queue.free = 0
    try:
        for stream in (False, True):
            answer = strict.http.post(CHAT, json={**asking("Hi."), "stream": stream})
            assert answer.status_code == 429 and answer.json()["error"]["code"] == "queue_full"
            assert "before its turn" in answer.json()["error"]["message"]
            assert int(answer.headers["retry-after"]) >= 1
    finally:
        queue.free = queue.rows
    assert strict.http.post(CHAT, json=asking("Hi.", max_tokens=1)).status_code == 200


def test_the_pairs_own_tau_has_to_lie_within_them() -> None:
    from rstitch.errors import BadRequest

    with pytest.raises(BadRequest, match=r"^the pair's own tau is 0\.03; this server takes 0\.1"):
        with serving(bounds={"tau_min": 0.1}):
            pass


def test_one_request_never_has_more_answers_than_the_engine_has_rows(strict: Running) -> None:
    """The engine of these tests has 8."""
    body: dict[str, Any] = {"prompt": ["a"] * 5, "n": 2, "max_tokens": 2}
    refused = strict.refused(TEXT, body)
    assert refused["param"] == "n"
    assert "10 answers; this server writes 8 at once" in refused["message"]
    assert len(strict.post(TEXT, {**body, "n": 1})["choices"]) == 5
    assert strict.refused(TEXT, {**body, "prompt": ["a"] * 9, "n": 1})["param"] == "prompt"


def test_a_text_that_cannot_fit_is_refused_before_it_is_made_into_tokens(
    strict: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was made into tokens")

    monkeypatch.setattr("rstitch.api.Stitch.prompts", never)
    text = "a" * 1900  # 60 tokens of the built-in pair have fewer characters
    for refused in (
        strict.refused(CHAT, asking(text)),
        strict.refused(TEXT, {"prompt": text}),
    ):
        assert refused["code"] == "context_length_exceeded"
        assert "1900 characters" in refused["message"]
