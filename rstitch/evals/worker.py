"""The process that `verify` asks: one JSON list of texts per line, `true` or `false` per line.

Two texts: are they equal? One: is it mathematics, and equal to itself? Imports no torch.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from importlib import import_module
from typing import Any, TextIO

MEMORY = 2 * 2**30
"""Bytes of address space: sympy needs a tenth of it."""


def main(deadline: float) -> None:
    """Questions until the input ends. An alarm ends a worker whose parent is gone."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a parser prints is no reply
    logging.disable()
    maths = import_module("math_verify")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _say(replies, True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, deadline + 1)
        texts = json.loads(line)
        try:
            found = _equal(maths, *texts) if len(texts) == 2 else _parses(maths, *texts)
        except Exception:  # whatever a parser or sympy does with what a model wrote
            found = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(replies, found)


def _equal(maths: Any, gold: str, found: str) -> bool:
    ours, theirs = _parse(maths, found), _parse(maths, gold)
    return bool(maths.verify(theirs, ours, timeout_seconds=None))


def _parses(maths: Any, gold: str) -> bool:
    read = _parse(maths, gold)
    mathematics = any(not isinstance(one, str) for one in read)
    return mathematics and bool(maths.verify(read, read, timeout_seconds=None))


def _parse(maths: Any, text: str) -> Any:
    bare = text.strip().strip("$").strip()
    return maths.parse(f"${bare}$", parsing_timeout=None)


def _say(replies: TextIO, value: bool) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]))
