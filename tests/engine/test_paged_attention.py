"""Attention over pages against one query and one head at a time: torch's way, and the kernels in
Triton's interpreter where there is Triton."""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from rstitch.engine.attention import attention
from rstitch.engine.batch import Span
from rstitch.engine.paged import choice, reference
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV
from tests.engine.test_attention import naive

INTERPRETED = bool(find_spec("triton")) and os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = [
    "torch",
    pytest.param(
        "triton", marks=pytest.mark.skipif(not INTERPRETED, reason="no TRITON_INTERPRET=1")
    ),
]


@pytest.fixture(autouse=True)
def _chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    name = request.node.callspec.params.get("backend", "torch")
    module = reference
    if name == "triton":
        from rstitch.engine.paged import kernels as module
    monkeypatch.setattr(choice, "backend", lambda device: module)


class Rows:
    """Random rows in pages, whose last tokens are still to be fed."""

    def __init__(
        self,
        heads: tuple[int, int] = (4, 2),
        dims: tuple[int, int] = (8, 8),
        dtype: torch.dtype = torch.float32,
        length: int = 150,
        page: int = 16,
    ) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(count: int, dim: int) -> Tensor:
            return torch.randn(4, count, length, dim, generator=generator).to(dtype)

        self.query = random(heads[0], dims[0]) * 2
        self.key, self.value = random(heads[1], dims[0]), random(heads[1], dims[1])
        self.kv = PagedKV(4, length, page)
        for _ in range(4):
            self.kv.open()

    def fill(self, spans: list[Span]) -> None:
        """What is cached already, in pages that lie in no order, with rubbish behind it."""
        for span in spans[::-1]:
            self.kv.grow(4, [(span.slot, span.end)])
        pools = self.kv.layer(0, *(x[0].transpose(0, 1) for x in (self.key, self.value)))
        for pool, x in zip(pools, (self.key, self.value), strict=True):
            pool.fill_(torch.nan)
            for span in spans:
                cells = self.kv.cells(span.slot, 0, span.start)
                pool.flatten(0, 1)[cells] = x[span.slot, :, : span.start].transpose(0, 1)

    def attend(self, spans: list[Span], **extra: object) -> Tensor:
        """(tokens, Hq, Dv), through the function that transformers calls."""
        self.fill(spans)
        flat = [
            torch.cat([x[s.slot, :, s.start : s.end] for s in spans], dim=1)[None]
            for x in (self.query, self.key, self.value)
        ]
        batch = PagedBatch.of(self.kv, spans, torch.device("cpu"))
        out, _ = attention(SimpleNamespace(layer_idx=0), *flat, None, rst_batch=batch, **extra)
        return out[0]

    def off(self, spans: list[Span], **extra: object) -> float:
        want = [
            naive(
                self.query[s.slot, :, s.start : s.end],
                self.key[s.slot, :, : s.end],
                self.value[s.slot, :, : s.end],
                **extra,
            )
            for s in spans
        ]
        return float((self.attend(spans, **extra).double() - torch.cat(want)).abs().max())


BATCHES = {
    "one token": [Span(2, 9, 1)],
    "first token": [Span(0, 0, 1)],
    "decode": [Span(0, 149, 1), Span(1, 15, 1), Span(2, 16, 1), Span(3, 0, 1)],
    "catch-ups": [Span(0, 70, 5), Span(1, 0, 17), Span(3, 100, 1), Span(2, 31, 33)],
    "64 tokens": [Span(1, 60, 64), Span(0, 3, 64)],
    "a prefill and a decode": [Span(0, 0, 130), Span(2, 140, 1)],
}
EXTRAS = {
    "plain": {},
    "scale": {"scaling": 0.2},
    "window": {"sliding_window": 7},
    "wide window": {"sliding_window": 70},
    "softcap": {"softcap": 2.0},
    "sinks": {"s_aux": torch.tensor([0.5, -1.0, 3.0, 0.0])},
    "all": {"sliding_window": 20, "softcap": 3.0, "s_aux": torch.tensor([0.5, -1.0, 3.0, 0.0])},
}


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("spans", BATCHES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_pages_hold_what_one_query_at_a_time_finds(backend: str, spans: str, extra: str) -> None:
    assert Rows().off(BATCHES[spans], **EXTRAS[extra]) < 1e-5


@pytest.mark.parametrize("heads", [(4, 4), (6, 1), (14, 2), (12, 2), (40, 8)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_number_of_query_heads_per_head(backend: str, heads: tuple[int, int]) -> None:
    rows = Rows(heads, length=60)
    assert rows.off([Span(0, 40, 3), Span(1, 0, 20), Span(2, 30, 1)]) < 1e-5


@pytest.mark.parametrize("dims", [(16, 16), (24, 16), (80, 80), (128, 128), (96, 64)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_values_may_be_narrower_than_keys(backend: str, dims: tuple[int, int]) -> None:
    rows = Rows(dims=dims, length=60)
    assert rows.off([Span(0, 40, 3), Span(1, 0, 20), Span(2, 30, 1)]) < 2e-5


@pytest.mark.parametrize("page", [1, 16, 64, 256])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_size_of_page(backend: str, page: int) -> None:
    assert Rows(page=page, length=100).off([Span(0, 90, 1), Span(1, 0, 64)]) < 1e-5


@pytest.mark.parametrize("extra", ["plain", "window", "all"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision(backend: str, extra: str) -> None:
    """As near as rounding of the result allows: sums are float32. Not bfloat16, of which Triton's
    interpreter multiplies the bits."""
    rows = Rows(dtype=torch.float16)
    assert rows.off(BATCHES["catch-ups"], **EXTRAS[extra]) < 0.004


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_of_a_fixed_width_disturbs_nobody(backend: str) -> None:
    """Places without a token give something finite, whatever lies in their keys."""
    rows = Rows()
    spans = [Span(0, 30, 4), Span(1, 2, 4)]
    rows.fill(spans)
    batch = PagedBatch.of(rows.kv, spans, torch.device("cpu"))
    batch.counts = torch.tensor([1, 3], dtype=torch.int32)
    batch.ends = torch.tensor([31, 5], dtype=torch.int32)
    flat = [
        torch.cat([x[s.slot, :, s.start : s.end] for s in spans], dim=1)[None]
        for x in (rows.query, rows.key, rows.value)
    ]
    out, _ = attention(SimpleNamespace(layer_idx=0), *flat, None, rst_batch=batch)
    real = torch.tensor([0, 4, 5, 6])
    want = rows.attend([Span(0, 30, 1), Span(1, 2, 3)])
    assert float((out[0, real] - want).abs().max()) < 1e-6
    assert out.isfinite().all()
