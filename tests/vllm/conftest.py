"""The built-in pair on vLLM and, beside it, in this process: each loaded once for all tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from rstitch.api import Stitch, load

ROWS = 16


@pytest.fixture(scope="session")
def pair() -> Iterator[Stitch]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; make vllm")
    with load(engine="vllm", max_rows=ROWS) as found:
        yield found


@pytest.fixture(scope="session")
def reference() -> Iterator[Stitch]:
    with load(max_rows=ROWS) as found:
        yield found
