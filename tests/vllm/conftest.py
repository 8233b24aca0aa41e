"""The built-in pair on vLLM and, beside it, in this process: each loaded once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rstitch.api import Stitch, load
from tests.vllm.asking import needs_vllm

ROWS = 16


@pytest.fixture(scope="session")
def pair() -> Iterator[Stitch]:
    needs_vllm()
    with load(engine="vllm", max_rows=ROWS) as found:
        yield found


@pytest.fixture(scope="session")
def reference() -> Iterator[Stitch]:
    with load(max_rows=ROWS) as found:
        yield found
