"""Ctrl-C between two steps of an engine, never in the middle of one.

A step moves memory, rows and text together; an exception that Python raises just anywhere in it
could leave one of them behind, and with it a stream that never ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType


@contextmanager
def held_interrupt() -> Iterator[None]:
    """Let SIGINT wait until the block is left, then have it handled as it would have been.

    A second one in the same block is handled at once: somebody does not want to wait. Only Python's
    main thread gets signals, so elsewhere nothing is done. Costs 8 microseconds.
    """
    if threading.current_thread() is not threading.main_thread() or _is_foreign():
        yield
        return
    held: list[FrameType | None] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(frame)
        if len(held) > 1:
            held.clear()
            _handle(frame)

    def _handle(frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        if callable(before):
            before(signal.SIGINT, frame)
        else:  # the operating system's own way: to end the process, or to ignore it
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            _handle(held[0])


@cache
def _is_foreign() -> bool:
    """The process belongs to a program that handles SIGINT itself; Python could not restore it."""
    return signal.getsignal(signal.SIGINT) is None
