"""What a session reads of vLLM's outputs, one by one and put together."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from rstitch.policy import make
from rstitch.vllm.report import ENOUGH, Layout, Report
from rstitch.vllm.session import _read
from tests.vllm.asking import needs_vllm


@pytest.fixture(scope="module")
def logprobs() -> Any:
    needs_vllm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import vllm.logprobs
    return vllm.logprobs


def output(logprobs: Any, layout: Layout, emitted: int, number: float) -> Any:
    """Of one token: each asked id has a number of its own, the emitted one the winner's."""
    ids = [emitted, *layout.asked]
    values = [3e38 if one == emitted else number + i for i, one in enumerate(ids)]
    found = logprobs.create_sample_logprobs(True)
    logprobs.append_logprobs_for_next_position(found, ids, values, [None] * len(ids), 1, len(ids))
    return found


@pytest.mark.parametrize("columns", [ENOUGH, 1000])
def test_outputs_that_vllm_puts_together_say_the_same(logprobs: Any, columns: int) -> None:
    """An id that was emitted and asked for comes twice in one output, and once in several."""
    layout = Layout.of(make("entropy", tau=0.1), columns, ENOUGH, 0)
    emitted = [5, layout.asked[2], layout.stop, layout.asked[-1]]
    parts = [output(logprobs, layout, token, 100.0 * i) for i, token in enumerate(emitted)]
    alone: list[Report] = []
    for token, part in zip(emitted, parts, strict=True):
        alone += _read(SimpleNamespace(token_ids=[token], logprobs=part), layout)
    merged = parts[0]
    for part in parts[1:]:
        merged.extend(part)
    together = _read(SimpleNamespace(token_ids=emitted, logprobs=merged), layout)
    assert [one.values for one in together] == [one.values for one in alone]
