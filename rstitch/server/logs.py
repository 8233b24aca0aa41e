"""One line on stderr per request: JSON for machines, a readable line on a terminal.

No prompt, no answer and no key is ever in it. That is why a line is made of named fields and not of
a message, why a model that a request names is logged only once it is known to be one of ours, and
why of an exception it tells the kind and the place: its message may quote what a client sent.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from rstitch.places import places

LOGGER = logging.getLogger("rstitch.server")
OTHERS = ("uvicorn", "transformers")
"""Libraries whose warnings become lines of the same form; none of them quotes a request."""
LONGEST = 100
"""Characters of a field."""
OF_THE_MACHINE = (OSError, MemoryError, RuntimeError)
"""Errors whose own message is shown: it speaks of memory, files and devices."""


@dataclass(frozen=True, slots=True)
class Line:
    """One request, when it has ended. What is None is left out."""

    id: str
    status: int
    """Of HTTP; 499 where the client had left."""
    seconds: float
    """From arrival to end."""
    key: str | None = None
    """The name of the key."""
    model: str | None = None
    """As served; None where the request named none that is."""
    prompt_tokens: int | None = None
    slm_tokens: int | None = None
    llm_tokens: int | None = None
    queue_seconds: float | None = None
    ttft_seconds: float | None = None
    reason: str | None = None
    """How it ended: a finish reason, or what it was refused for."""


def install(form: Literal["auto", "json", "text"] = "auto", stream: TextIO | None = None) -> None:
    """Send lines to `stream`, stderr by default, and nowhere else, those of OTHERS too; a second
    call replaces the first. "auto" is text on a terminal."""
    stream = stream or sys.stderr
    text = form == "text" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Text() if text else _Json())
    for logger in (LOGGER, *map(logging.getLogger, OTHERS)):
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO if logger is LOGGER else logging.WARNING)


def request(line: Line) -> None:
    """Log a request that has ended."""
    facts = {name: value for name, value in asdict(line).items() if value is not None}
    _log(logging.ERROR if line.status >= 500 else logging.INFO, "request", facts)


def note(event: str, **facts: str | float) -> None:
    """Log what happens to the server: `note("draining", in_flight=3)`."""
    _log(logging.INFO, event, facts)


def problem(error: BaseException, id: str | None = None) -> None:
    """Log what went wrong in here, by kind and place."""
    facts: dict[str, Any] = {} if id is None else {"id": id}
    facts |= {"error": type(error).__name__, "at": places(error)}
    if isinstance(error, OF_THE_MACHINE):
        facts["message"] = str(error)
    _log(logging.ERROR, "problem", facts)


def _log(level: int, event: str, facts: dict[str, Any]) -> None:
    LOGGER.log(level, event, extra={"facts": {name: _short(v) for name, v in facts.items()}})


def _short(value: Any) -> Any:
    """On one line, and not too long."""
    if isinstance(value, float):
        return round(value, 6)
    if not isinstance(value, str):
        return value
    shown = value if value.isprintable() else ascii(value)[1:-1]
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        head = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(head | getattr(record, "facts", {}))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = dict(getattr(record, "facts", {}))
        places = facts.pop("at", [])
        line = " ".join(f"{name}={value}" for name, value in facts.items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return "\n    ".join([f"{clock} {record.getMessage()} {line}".rstrip(), *places])
