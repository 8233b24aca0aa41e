"""What a test has happen ahead of an engine's passes, in this process or in one of its own.

There it is `tests.obedient` that runs, and what a test wants goes through the pipe as a copy: it
must be one that can, such as those here, and not a function within a test.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Engine
from rstitch.remote.engine import RemoteEngine
from rstitch.types import Side

Before = Callable[[Side], None]
ROOT = Path(__file__).parent.parent


@dataclass
class Slow:
    """Passes take that long at least, seconds: answers that last."""

    seconds: float = 0.02

    def __call__(self, side: Side) -> None:
        time.sleep(self.seconds)


@dataclass
class Raises:
    """An error once, or from then on."""

    text: str
    after: int = 0
    """Passes that go well before."""
    always: bool = False

    def __call__(self, side: Side) -> None:
        self.after -= 1
        if self.after == -1 or (self.always and self.after < 0):
            raise RuntimeError(self.text)


@dataclass
class Hangs:
    """A pass that says that it has begun, by a file, and does not end."""

    file: Path

    def __call__(self, side: Side) -> None:
        self.file.touch()
        time.sleep(600)


@contextmanager
def obeying() -> Iterator[None]:
    """Engines' processes that are started meanwhile do as they are told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rstitch.remote.process.CHILD", "tests.obedient")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


@contextmanager
def running_as(engine: Engine, before: Before, sides: Iterable[Side] = Side) -> Iterator[None]:
    """Call `before` ahead of every pass of these sides, in the engine's thread."""
    if isinstance(engine, RemoteEngine):
        engine._send("begin", before, tuple(sides))
        try:
            yield
        finally:
            engine._send("end")
        return
    assert isinstance(engine, InProcessEngine)
    with pytest.MonkeyPatch.context() as patch:
        for side in sides:
            runner = engine.runners[side]
            patch.setattr(runner, "extend", _after(before, side, runner.extend))
        yield


def _after(before: Before, side: Side, extend: Callable[..., Any]) -> Callable[..., Any]:
    def patched(*args: Any, **options: Any) -> Any:
        before(side)
        return extend(*args, **options)

    return patched


@contextmanager
def noting_stops(engine: Engine) -> Iterator[None]:
    """`stats` has the list `stops`: the count of steps whenever something was cancelled."""
    if isinstance(engine, RemoteEngine):  # it always does
        yield
        return
    stats, cancel, found = engine.stats, engine.cancel, list[int]()

    def noting(name: str) -> None:
        found.append(stats()["steps"])
        cancel(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "cancel", noting)
        patch.setattr(engine, "stats", lambda: {**stats(), "stops": list(found)})
        yield
