"""Prefixes: what rows share is held once, and each row is still the row it would be alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

from rstitch.engine import kv as kv_module
from rstitch.engine.batch import Span
from rstitch.engine.prefix import Prefix, Share
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests.engine.test_attention import BATCHES, DIM, EXTRAS, Rows
from tests.models import model, plain_logits, prompt, runner


@pytest.fixture(autouse=True)
def _prompts_of_the_random_models_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their contexts hold 256 tokens, from which on prompts are shared."""
    monkeypatch.setattr(kv_module, "MIN_SHARED", 128)


LLM = Side.LLM

# -- attention ------------------------------------------------------------------------------------

SHARED = {
    "all rows": (dict.fromkeys(range(12), 20), 20),
    "some rows": (dict.fromkeys((3, 5, 6, 8, 11), 17), 17),
    "less than all of it": ({slot: 3 + slot for slot in range(12)}, 16),
    "two prefixes": ({slot: 9 + slot % 2 for slot in range(10)}, 12),
}
"""Tokens of a prefix that each slot refers to, and its length; even and odd slots have two."""


class SharedRows(Rows):
    """Random rows that begin with prefixes; spans are those of rows, and what of a row lies in
    its prefix is not in its slot."""

    def __init__(self, shared: dict[int, int], tokens: int, value_dim: int = DIM) -> None:
        super().__init__(value_dim)
        two = [Prefix(tokens), Prefix(tokens)] if len(shared) == 10 else [Prefix(tokens)] * 2
        for parity, prefix in enumerate(two):
            for part, x in enumerate((self.key, self.value)):
                prefix.parts[0, part] = x[parity if len(shared) == 10 else 0, :, :tokens].clone()
        for slot, count in shared.items():
            for part, x in enumerate((self.key, self.value)):
                x[slot, :, :count] = two[slot % 2].parts[0, part][:, :count]
        self.shares = {slot: Share(two[slot % 2], count) for slot, count in shared.items()}

    def attend(self, spans: list[Span], **extra: Any) -> Tensor:
        whole = self.key, self.value, self.query
        self.kv.shares = dict(self.shares)
        own = []
        for x in whole:  # a row's own tokens begin its slot
            y = x.clone()
            for slot, share in self.shares.items():
                y[slot] = torch.roll(x[slot], -share.tokens, dims=1)
            own.append(y)
        self.key, self.value, self.query = own
        try:
            return super().attend([self.own(span) for span in spans], **extra)
        finally:
            self.key, self.value, self.query = whole

    def own(self, span: Span) -> Span:
        share = self.shares.get(span.slot)
        return Span(span.slot, span.start - (share.tokens if share else 0), span.count)


def after(spans: list[Span], by: int) -> list[Span]:
    return [Span(s.slot, s.start + by, min(s.count, 64 - s.start - by)) for s in spans]


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize("batch", BATCHES)
def test_against_the_naive_reference(batch: str, shared: str, extra: str) -> None:
    rows, spans = SharedRows(*SHARED[shared]), after(BATCHES[batch], 20)
    got, want = (f(spans, **EXTRAS[extra]) for f in (rows.attend, rows.naive))
    assert got.shape == want.shape
    worst = (got - want).abs().max()
    assert worst < 1e-5, f"off by {worst:.2e}"


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("value_dim", [4, 16])
def test_values_of_another_width_than_keys(value_dim: int, extra: str) -> None:
    for shared in SHARED.values():
        rows, spans = SharedRows(*shared, value_dim), after(BATCHES["ragged, far apart"], 20)
        got, want = (f(spans, **EXTRAS[extra]) for f in (rows.attend, rows.naive))
        assert got.shape == want.shape == (*want.shape[:2], value_dim)
        assert (got - want).abs().max() < 1e-5


def test_half_precision_stays_half() -> None:
    rows = SharedRows(*SHARED["all rows"])
    for name in ("key", "value", "query"):
        setattr(rows, name, getattr(rows, name).bfloat16())
    (prefix,) = {share.prefix for share in rows.shares.values()}
    prefix.parts = {at: part.bfloat16() for at, part in prefix.parts.items()}
    for extra in EXTRAS.values():
        spans = after(BATCHES["ragged, neighbours"], 20)
        got = rows.attend(spans, **extra)
        assert got.dtype == torch.bfloat16
        assert (got - rows.naive(spans, **extra)).abs().max() < 0.05


# -- a runner -------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_forked_rows_equal_full_forward_passes(side: Side) -> None:
    """Six rows of a prompt of 150 tokens decode together, catch up raggedly and one by one."""
    one, pick = runner(side), random.Random(0)
    ids = list(prompt(150))
    first = one.open()
    one.extend([Extend(first, ids)])
    rows = {first: list(ids)}
    for _ in range(5):
        rows[one.fork(first, 149)] = ids[:149]
    assert one.kv.prefixed == 149
    other = one.open()  # and one that shares nothing
    rows[other] = []
    worst = 0.0
    for counts in ([1] * 7, [1, 2, 3, 1, 1, 30, 20], [2, 1, 0, 0, 4, 0, 1], [0, 1], [3], [1] * 7):
        fed = [
            Extend(row, [pick.randrange(97) for _ in range(count)])
            for row, count in zip(rows, counts, strict=False)
            if count
        ]
        got = one.extend(fed, logits="all")
        for item in fed:
            rows[item.row] += item.tokens
        want = [plain_logits(side, rows[item.row])[-len(item.tokens) :] for item in fed]
        worst = max(worst, float((got - torch.cat(want)).abs().max()))
    assert worst < 2e-5, f"off by {worst:.1e}"


def test_sixteen_rows_of_a_long_prompt_take_little_more_than_one() -> None:
    """512 tokens: 511 once, and a slot of 256 for each row; copies take 16 slots of 1,024."""
    one = TorchRunner(model(LLM), 97, 16, 1024)
    first, ids = one.open(), list(prompt(512))
    one.extend([Extend(first, ids)])
    rows = [first, *(one.fork(first, 511) for _ in range(15))]
    for _ in range(3):
        one.extend([Extend(row, [50] * 70) for row in rows])
    assert one.nbytes == one.token_bytes * (511 + 16 * 256)
    assert one.nbytes < one.token_bytes * 16 * 1024 / 3.5
    for row in rows[1:]:
        one.free(row)
    assert one.kv.prefixed == 511, "the first still needs it"
    one.free(first)
    assert one.kv.prefixed == 0 and one.nbytes == one.token_bytes * 16 * 256


def test_a_short_prompt_is_copied() -> None:
    one = runner(LLM)
    first = one.open()
    one.extend([Extend(first, prompt(100))])
    one.fork(first, 100)
    assert one.kv.shares == {}


def test_rows_cut_back_into_what_they_share() -> None:
    one, ids = runner(LLM), list(prompt(180))
    first = one.open()
    one.extend([Extend(first, ids)])
    others = [one.fork(first, 180) for _ in range(3)]
    for row, n in zip(others, (179, 100, 0), strict=True):
        one.truncate(row, n)
        assert one.cached(row) == n
    one.truncate(first, 40)
    one.kv.check_integrity()
    rows = {first: 40, others[0]: 179, others[1]: 100, others[2]: 0}
    got = one.extend([Extend(row, [50]) for row in rows])
    for i, n in enumerate(rows.values()):
        assert (got[i] - plain_logits(LLM, [*ids[:n], 50])[-1]).abs().max() < 2e-5
    assert one.kv.prefixed == 180, "one row still refers to all of it"
    again = one.fork(others[1], 90)
    assert one.cached(again) == 90
    for row in [*rows, again]:
        one.free(row)
    assert one.kv.prefixed == 0


def test_a_row_that_shares_is_as_long_as_its_context_at_most() -> None:
    one = runner(LLM)
    first = one.open()
    one.extend([Extend(first, prompt(200))])
    row = one.fork(first, 200)
    with pytest.raises(RuntimeError, match="257 tokens exceed the 256"):
        one.extend([Extend(row, [5] * 57)])
    got = one.extend([Extend(row, [5] * 56)])
    off = (got[0] - plain_logits(LLM, [*prompt(200), *[5] * 56])[-1]).abs().max()
    assert off < 2e-5 and one.cached(row) == 256


def test_under_a_bound_rows_get_copies_where_a_prefix_is_in_the_way() -> None:
    """400 cells: four rows that begin with the same 40 tokens, then one of them and a stranger of
    190, for whom there is room only without the prefix. Nothing is lost."""
    one = runner(LLM, max_rows=4)
    one.kv.min_shared = 5
    assert one.bound(400 * int(one.token_bytes * 1.25)) == 256
    ids = list(prompt(50))
    first = one.open()
    one.extend([Extend(first, ids)])
    rows = {first: ids, **{one.fork(first, 40): ids[:40] for _ in range(3)}}
    assert one.kv.prefixed == 40 and one.fits([100] * 4) and not one.fits([101] * 4)
    more = list(prompt(50, 3))
    for row in rows:
        one.extend([Extend(row, more)])
        rows[row] = [*rows[row], *more]
        one.kv.check_integrity()
    assert one.kv.prefixed == 40
    for row in list(rows)[:3]:
        one.free(row)
        del rows[row]
    stranger = one.open()
    rows[stranger] = list(prompt(190, 4))
    one.extend([Extend(stranger, rows[stranger])])
    assert one.kv.shares == {} and one.kv.prefixed == 0, "380 cells and 40"
    got = one.extend([Extend(row, [50]) for row in rows])
    for i, row in enumerate(rows):
        assert (got[i] - plain_logits(LLM, [*rows[row], 50])[-1]).abs().max() < 2e-5
    with pytest.raises(RuntimeError, match="2 rows of 211 tokens exceed 400"):
        one.extend([Extend(stranger, [5] * 20)])
