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
def pair() -> Iterator[Stitch]:
    """The same pair for this thread: a server's own has one reader, who is the server."""
    with load(threads=1) as stitch:
        yield stitch
