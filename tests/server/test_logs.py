"""Logs: one line per request, and never what a client wrote or read."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.server import logs
from rstitch.server.logs import Line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    loggers = [logs.LOGGER, *map(logging.getLogger, logs.OTHERS)]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    yield
    for one, was in zip(loggers, before, strict=True):
        one.handlers, one.propagate, one.level = was


def written(form: Any = "json") -> io.StringIO:
    stream = io.StringIO()
    logs.install(form, stream)
    return stream


def only(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


DONE = Line("req-1", 200, 0.25, "ann", "builtin@0.02", 12, 30, 8, 0.01, 0.0123456789, "stop")


def test_a_request_is_one_json_line() -> None:
    stream = written()
    logs.request(DONE)
    line = only(stream)
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "info",
        "event": "request",
        "id": "req-1",
        "status": 200,
        "seconds": 0.25,
        "key": "ann",
        "model": "builtin@0.02",
        "prompt_tokens": 12,
        "slm_tokens": 30,
        "llm_tokens": 8,
        "queue_seconds": 0.01,
        "ttft_seconds": 0.012346,
        "reason": "stop",
    }


def test_what_is_not_known_is_left_out() -> None:
    stream = written()
    logs.request(Line("req-1", 429, 0.0, "ann", reason="queue_full"))
    assert only(stream).keys() == {
        "time", "level", "event", "id", "status", "seconds", "key", "reason",
    }  # fmt: skip


def test_a_request_is_one_readable_line_on_a_terminal() -> None:
    stream = Terminal()
    logs.install("auto", stream)
    logs.request(Line("req-1", 200, 0.25, "ann", reason="stop"))
    (line,) = stream.getvalue().splitlines()
    assert line[8:] == " request id=req-1 status=200 seconds=0.25 key=ann reason=stop"


def test_auto_is_json_where_there_is_no_terminal() -> None:
    stream = written("auto")
    logs.request(DONE)
    assert only(stream)["id"] == "req-1"


@pytest.mark.parametrize(("status", "level"), [(200, "info"), (429, "info"), (503, "error")])
def test_errors_of_ours_are_errors(status: int, level: str) -> None:
    stream = written()
    logs.request(Line("req-1", status, 0.0))
    assert only(stream)["level"] == level


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_field_can_make_a_second_line(form: str) -> None:
    stream = written(form)
    logs.request(Line("a\nb\r\x1b[31m\u2028\udcff", 200, 0.0, model="m" * 500))
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue() and "m" * 101 not in stream.getvalue()


SECRET = "What is the password of the bank?"


def fails(error: Exception) -> Exception:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise error from cause
    except Exception as caught:
        return caught


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("error", [BadRequest(SECRET), ValueError(SECRET), KeyError(SECRET)])
def test_a_problem_tells_kind_and_place_and_not_what_was_sent(form: str, error: Exception) -> None:
    stream = written(form)
    logs.problem(fails(error), id="req-1")
    told = stream.getvalue()
    assert type(error).__name__ in told and "req-1" in told
    assert "test_logs.py:" in told and " fails" in told and "caused by KeyError" in told
    assert "password" not in told


def test_a_problem_of_the_machine_tells_its_message() -> None:
    stream = written()
    logs.problem(RuntimeError("CUDA out of memory"))
    line = only(stream)
    assert (line["error"], line["message"]) == ("RuntimeError", "CUDA out of memory")
    assert (line["event"], line["level"]) == ("problem", "error")


def test_what_happens_to_the_server_is_noted() -> None:
    stream = written()
    logs.note("draining", in_flight=3)
    line = only(stream)
    assert (line["event"], line["in_flight"]) == ("draining", 3)


def test_a_second_installation_replaces_the_first_and_nobody_else_hears(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = written(), written()
    with caplog.at_level(logging.INFO):
        logs.request(DONE)
    assert first.getvalue() == "" and only(second)["id"] == "req-1"
    assert caplog.records == []


def test_other_libraries_warnings_are_lines_too() -> None:
    """Uvicorn's of what is no HTTP, transformers' of a prompt that is longer than the context."""
    stream = written()
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").info("Shutting down")
    line = only(stream)
    assert (line["level"], line["event"]) == ("warning", "Invalid HTTP request received.")
    stream = written()
    try:
        raise ValueError("what a client sent")
    except ValueError:
        logging.getLogger("transformers.tokenization").exception("It failed")
    assert only(stream)["event"] == "It failed" and "client" not in stream.getvalue()
