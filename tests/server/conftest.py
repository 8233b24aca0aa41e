"""One server of the built-in pair for all tests that leave it clean."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rstitch.api import Stitch, load
from tests.server.serving import Running, serving


@pytest.fixture(scope="session")
def shared() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def server(shared: Running) -> Iterator[Running]:
    """Nothing of a test is left in it afterwards."""
    yield shared
    shared.assert_clean()


@pytest.fixture(scope="session")
def apart() -> Iterator[Running]:
    """The same with its engine in a process of its own, as `rstitch serve` has it."""
    with serving(process=True) as running:
        yield running


@pytest.fixture(params=["shared", "apart"])
def either(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server, on the engine here and on one in a process of its own."""
    running: Running = request.getfixturevalue(request.param)
    yield running
    running.assert_clean()


@pytest.fixture(scope="session")
def short() -> Iterator[Running]:
    """A server whose answers are a few tokens, so that there may be many."""
    with serving(limits={"max_tokens": 4, "default_max_tokens": 2, "max_n": 2}) as running:
        yield running
        running.assert_clean()


@pytest.fixture(scope="session")
def pair() -> Iterator[Stitch]:
    """The same pair for this thread: a server's own has one reader, who is the server."""
    with load(threads=1) as stitch:
        yield stitch
