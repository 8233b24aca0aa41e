"""What nobody foresaw: it is told by its kind, and ends what it has to."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rstitch.server.health import Health
from tests.passes import Raises, running_as
from tests.server.serving import CHAT, Running, asking, serving, slowly

SECRET = "a text that a client sent"


def test_a_bug_is_a_500_without_its_message(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a handler that answers for itself, and in one that does not."""

    def broken(*_: Any) -> Any:
        raise KeyError(SECRET)

    monkeypatch.setattr("rstitch.server.writing.parse", broken)
    monkeypatch.setattr("rstitch.server.lists.published", broken)
    with caplog.at_level(logging.INFO):
        answers = [server.http.post(CHAT, json=asking()), server.http.get("/v1/rstitch/fields")]
    for answer in answers:
        assert answer.status_code == 500
        assert answer.json()["error"]["message"] == "the answer failed: KeyError"
    told = str([vars(record) for record in caplog.records])
    assert "KeyError" in told and SECRET not in told


def test_a_row_that_cannot_be_read_ends_alone(either: Running) -> None:
    with running_as(either.stitch.engine, Raises(SECRET)):
        answer = either.http.post(CHAT, json=asking())
        assert answer.status_code == 500 and SECRET not in answer.text
        assert either.chat()["choices"][0]["finish_reason"] == "stop"


def test_a_loop_that_fails_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as running:

        def broken() -> None:
            raise RuntimeError(SECRET)

        monkeypatch.setattr(running.stitch.engine.loop, "step", broken)
        answer = running.http.post(CHAT, json=asking())
        assert answer.status_code == 500 and SECRET not in answer.text
        running.thread.join(10)
        assert not running.thread.is_alive() and running.server.status == 1


class Stuck:
    """An engine whose steps are counted by hand."""

    def __init__(self) -> None:
        self.active, self.steps = 0, 0

    def stats(self) -> dict[str, Any]:
        return {"active": self.active, "queued": 0, "steps": self.steps}


def test_health_is_progress_while_there_is_work() -> None:
    now, engine = [0.0], Stuck()
    health = Health(engine, 10.0, lambda: now[0])  # type: ignore[arg-type]
    now[0] = 100.0
    assert health.ok, "nothing to do is no reason for a step"
    engine.active = 1
    for now[0], steps, ok in ((105.0, 0, True), (111.0, 0, False), (112.0, 1, True)):
        engine.steps = steps
        assert health.ok is ok, now[0]


def test_a_hanging_pass_is_told(either: Running) -> None:
    assert either.http.get("/health").json() == {"status": "ok"}
    health = either.served.health
    with slowly(either.stitch, 0.3):
        client = either.connect(CHAT, asking(max_tokens=2))
        either.until(lambda: either.active)
        health.seconds = 0.05
        try:
            either.until(lambda: either.http.get("/health").status_code == 503)
        finally:
            health.seconds = 10.0
        client.close()
        assert either.idle()
    assert either.http.get("/health").status_code == 200
