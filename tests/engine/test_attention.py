"""Attention over KV slabs: its three ways through, against a reference in plain float64."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from rstitch.engine import batch as module
from rstitch.engine.attention import attention
from rstitch.engine.batch import Batch, Span, visible
from rstitch.engine.kv import KVSlabs

Q_HEADS, KV_HEADS, DIM = 6, 2, 8
EXTRAS = {
    "plain": {},
    "scaling": {"scaling": 0.2},
    "window": {"sliding_window": 5},
    "window of one": {"sliding_window": 1},
    "wide window": {"sliding_window": 1000},
    "softcap": {"softcap": 1.5},
    "sinks": {"s_aux": torch.linspace(-1.0, 2.0, Q_HEADS)},
    "all": {
        "scaling": 0.4,
        "sliding_window": 7,
        "softcap": 2.0,
        "s_aux": torch.linspace(2.0, -1.0, Q_HEADS),
    },
}


def naive(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
) -> Tensor:
    """One row, one query and one head at a time, float64: q (Hq, n, D) are the last n positions of
    k (Hkv, L, D), v (Hkv, L, Dv) -> (n, Hq, Dv)."""
    heads, n, dim = query.shape
    group, total = heads // key.shape[0], key.shape[1]
    out = torch.zeros(n, heads, value.shape[-1], dtype=torch.float64)
    for head in range(heads):
        k, v = key[head // group].double(), value[head // group].double()
        for i in range(n):
            at = total - n + i
            first = 0 if sliding_window is None else max(0, at - sliding_window + 1)
            scores = k[first : at + 1] @ query[head, i].double()
            scores = scores * (dim**-0.5 if scaling is None else scaling)
            if softcap is not None:
                scores = softcap * torch.tanh(scores / softcap)
            if s_aux is not None:
                scores = torch.cat([scores, s_aux[head].double()[None]])
            weights = torch.softmax(scores, dim=0)[: at + 1 - first]
            out[i, head] = weights @ v[first : at + 1]
    return out


class Rows:
    """Random keys and values of several slots, with the last tokens of some still to be fed."""

    def __init__(self, value_dim: int = DIM, slots: int = 12, length: int = 64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.kv = KVSlabs(slots, length)
        for _ in range(slots):
            self.kv.open()
        self.key = torch.randn(slots, KV_HEADS, length, DIM, generator=generator)
        self.value = torch.randn(slots, KV_HEADS, length, value_dim, generator=generator)
        self.query = torch.randn(slots, Q_HEADS, length, DIM, generator=generator) * 2

    def attend(self, spans: list[Span], **extra: object) -> Tensor:
        """(tokens, Hq, Dv), through the function that transformers calls."""
        flat = [
            torch.cat([x[s.slot, :, s.start : s.end] for s in spans], dim=1)[None]
            for x in (self.query, self.key, self.value)
        ]
        batch = Batch(self.kv, spans, torch.device("cpu"))
        self.kv.reserve(max(s.end for s in spans))
        self.kv.layer(0, flat[1][0], flat[2][0])
        for span in spans:  # what is cached already, and rubbish behind it
            for slab, x in zip(self.kv.layers[0], (self.key, self.value), strict=True):
                slab[span.slot] = 1e4
                slab[span.slot, :, : span.start] = x[span.slot, :, : span.start]
        out, weights = attention(
            SimpleNamespace(layer_idx=0), *flat, attention_mask=None, rst_batch=batch, **extra
        )
        assert weights is None
        return out[0]

    def naive(self, spans: list[Span], **extra: object) -> Tensor:
        parts = [
            naive(
                self.query[s.slot, :, s.start : s.end],
                self.key[s.slot, :, : s.end],
                self.value[s.slot, :, : s.end],
                **extra,
            )
            for s in spans
        ]
        return torch.cat(parts)


BATCHES = {
    "one token of one row": [Span(3, 9, 1)],
    "first token": [Span(0, 0, 1)],
    "prefill": [Span(2, 0, 40)],
    "short catch-up": [Span(1, 7, 12)],
    "decode, neighbours": [Span(4, 20, 1), Span(5, 3, 1), Span(6, 11, 1)],
    "decode, a gap, any order": [Span(6, 20, 1), Span(3, 0, 1), Span(4, 33, 1)],
    "decode, far apart": [Span(0, 20, 1), Span(11, 3, 1)],
    "decode, one idle between": [Span(4, 20, 1), Span(5, 3, 1), Span(7, 11, 1)],
    "ragged, far apart": [Span(11, 20, 3), Span(0, 3, 1), Span(5, 0, 16)],
    "ragged, neighbours": [Span(8, 0, 16), Span(7, 30, 12), Span(9, 5, 9)],
    "as long, neighbours": [Span(7, 0, 5), Span(8, 30, 5), Span(9, 5, 5)],
    "one long among short": [Span(1, 2, 17), Span(2, 8, 1), Span(3, 0, 5)],
    "one long among short, far apart": [Span(4, 0, 30), Span(11, 20, 3), Span(0, 3, 1)],
    "all long": [Span(10, 0, 17), Span(2, 8, 33)],
}


def test_rows_attend_by_themselves_where_that_saves_padding() -> None:
    """By hand, with 12 tokens for a call of its own: 3 x 16 = 48 against 16 + 12 + 2 x 2 = 32."""
    assert module.ALONE == 12
    counts = {
        (16, 2, 1): [0],  # 48; 32; 16 + 2 + 24 + 1 = 43
        (16, 9, 5): [0],  # 48; 16 + 12 + 18 = 46; 25 + 24 + 5 = 54
        (40, 20, 1, 1): [0, 1],  # 160; 52 + 60; 60 + 24 + 2 = 86; 61 + 36 + 1 = 98
        (9, 8, 7): [],  # 27; 9 + 12 + 16 = 37
        (1, 1, 1): [],
        (9,): [0],
    }
    for sizes, apart in counts.items():
        spans = [Span(slot, 0, count) for slot, count in enumerate(sizes)]
        assert Batch(KVSlabs(1, 1), spans, torch.device("cpu")).apart == apart, sizes


def way(spans: list[Span]) -> str:
    batch = Batch(KVSlabs(1, 1), spans, torch.device("cpu"))
    if not batch.together:
        return "by row"
    how = "padded" if batch.padding.picked is None else "gathered"
    if batch.padding.dense:
        return f"{how}, dense"
    return f"{how}, some by row" if batch.apart else how


def test_the_batches_take_all_ways() -> None:
    assert {way(spans) for spans in BATCHES.values()} == {
        "by row",
        "padded",
        "padded, dense",
        "gathered, dense",
        "padded, some by row",
        "gathered, some by row",
    }


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("batch", BATCHES)
def test_against_the_naive_reference(batch: str, extra: str) -> None:
    rows = Rows()
    got, want = (f(BATCHES[batch], **EXTRAS[extra]) for f in (rows.attend, rows.naive))
    assert got.shape == want.shape
    worst = (got - want).abs().max()
    assert worst < 1e-5, f"{way(BATCHES[batch])}: off by {worst:.2e}"


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("value_dim", [4, 16])
@pytest.mark.parametrize("batch", ["prefill", "ragged, neighbours", "ragged, far apart"])
def test_values_of_another_width_than_keys(batch: str, value_dim: int, extra: str) -> None:
    rows = Rows(value_dim)
    got, want = (f(BATCHES[batch], **EXTRAS[extra]) for f in (rows.attend, rows.naive))
    assert got.shape == want.shape == (*want.shape[:2], value_dim)
    assert (got - want).abs().max() < 1e-5


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("slots", [(2, 3, 4), (0, 6, 11), (11, 0, 4)])
def test_padded_and_gathered_agree_with_row_by_row(
    extra: str, slots: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = [Span(slots[0], 13, 1), Span(slots[1], 0, 16), Span(slots[2], 40, 4)]
    monkeypatch.setattr(module, "ALONE", 1000)
    together = Rows().attend(spans, **EXTRAS[extra])
    assert way(spans) == ("padded" if slots == (2, 3, 4) else "gathered")
    monkeypatch.setattr(module, "ALONE", -1000)
    assert way(spans) == "by row"
    worst = (Rows().attend(spans, **EXTRAS[extra]) - together).abs().max()
    assert worst < 1e-5, f"off by {worst:.2e}"


@pytest.mark.parametrize("batch", BATCHES)
def test_new_keys_and_values_are_cached_where_they_belong(batch: str) -> None:
    rows, spans = Rows(), BATCHES[batch]
    rows.attend(spans)
    for slab, x in zip(rows.kv.layers[0], (rows.key, rows.value), strict=True):
        for s in spans:
            assert torch.equal(slab[s.slot, :, : s.end], x[s.slot, :, : s.end])
            assert (slab[s.slot, :, s.end :] == 1e4).all(), "wrote past its tokens"
        idle = [i for i in range(12) if i not in {s.slot for s in spans}]
        assert not slab[idle].any(), "wrote to a row that took no part"


def test_half_precision_stays_half() -> None:
    """Scores of soft-capped and sink layers are float32 in between."""
    rows = Rows()
    for name in ("key", "value", "query"):
        setattr(rows, name, getattr(rows, name).bfloat16())
    for spans in (BATCHES["prefill"], BATCHES["ragged, neighbours"]):
        for extra in EXTRAS.values():
            got = rows.attend(spans, **extra)
            assert got.dtype == torch.bfloat16
            assert (got - rows.naive(spans, **extra)).abs().max() < 0.05


def test_visible_by_hand() -> None:
    query, key = torch.arange(4)[:, None], torch.arange(4)
    table = {
        None: ["1000", "1100", "1110", "1111"],
        2: ["1000", "1100", "0110", "0011"],
        1: ["1000", "0100", "0010", "0001"],
    }
    for window, want in table.items():
        seen = visible(query, key, window).int()
        assert ["".join(map(str, row)) for row in seen.tolist()] == want
