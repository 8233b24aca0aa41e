"""The torch runner: any order of extend, truncate and fork equals a full forward pass."""

from __future__ import annotations

import random

import pytest
import torch

from rstitch.engine import kv as kv_module
from rstitch.engine.compiled import BUCKETS, CompiledStep
from rstitch.engine.runner import Extend
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests.histories import LONGEST, ROWS, assert_rows, differ, play
from tests.models import ROWS as COLUMNS
from tests.models import model, plain_logits, prompt, runner
from tests.same import TOLERANCE


@pytest.fixture(autouse=True)
def _prompts_of_the_random_models_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their contexts hold 256 tokens, from which on prompts are shared."""
    monkeypatch.setattr(kv_module, "MIN_SHARED", 128)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [3, 1000])
def test_random_histories_equal_a_full_forward(side: Side, seed: int, least: int) -> None:
    """Forked rows share what they have in common from `least` tokens on."""
    one = runner(side, max_rows=ROWS)
    one.kv.min_shared = least
    play(side, one, seed, 40)


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 99])
def test_a_prefill_in_chunks_equals_one(cut: int) -> None:
    ids, one = list(prompt(100)), runner(Side.LLM)
    row = one.open()
    one.extend([Extend(row, ids[:cut])])
    off = differ(one.extend([Extend(row, ids[cut:])])[0], plain_logits(Side.LLM, ids)[-1])
    assert off < TOLERANCE, f"off by {off:.1e}"


def test_a_rows_logits_do_not_depend_on_its_batch() -> None:
    """Up to 1e-4: products with one row and with eight take different ways."""
    prompts = [list(prompt(length, seed=length)) for length in (3, 9, 1, 30, 30, 12, 5, 16)]
    one = runner(Side.SLM)
    rows = [one.open() for _ in prompts]
    got = one.extend([Extend(row, ids) for row, ids in zip(rows, prompts, strict=True)])
    assert got.shape == (8, COLUMNS[Side.SLM])
    for i, ids in enumerate(prompts):
        assert differ(got[i], plain_logits(Side.SLM, ids)[-1]) < TOLERANCE


def test_a_row_holds_up_to_its_longest_and_no_more() -> None:
    ids, one = list(prompt(LONGEST)), runner(Side.LLM)
    row = one.open()
    off = differ(one.extend([Extend(row, ids)])[0], plain_logits(Side.LLM, ids)[-1])
    assert off < TOLERANCE, f"off by {off:.1e}"
    with pytest.raises(RuntimeError, match="257 tokens exceed the 256"):
        one.extend([Extend(row, [5])])
    assert one.cached(row) == LONGEST


def test_truncation_outside_a_row_is_refused() -> None:
    one = runner(Side.SLM)
    row = one.open()
    one.extend([Extend(row, [5, 6, 7])])
    for n in (-1, 4):
        with pytest.raises(ValueError, match=f"a row of 3 tokens to {n}"):
            one.truncate(row, n)
    assert one.cached(row) == 3


@pytest.mark.parametrize("layer", [0, 1])
def test_an_extend_that_fails_changes_nothing(layer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the model, with some layers' keys already written."""
    one = runner(Side.LLM)
    first, second = one.open(), one.open()
    ids = {first: list(prompt(12, 1)), second: list(prompt(5, 2))}
    one.extend([Extend(row, tokens) for row, tokens in ids.items()])

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(model(Side.LLM).model.layers[layer].mlp, "forward", fail)
        for counts in ((1, 1), (3, 40), (1, 250)):  # the last would also have to grow
            with pytest.raises(RuntimeError, match="no memory left|exceed"):
                one.extend([Extend(r, [60] * n) for r, n in zip(ids, counts, strict=True)])
            assert {row: one.cached(row) for row in ids} == {first: 12, second: 5}
    assert_rows(Side.LLM, one, ids)


def test_an_extend_of_a_freed_row_fails_and_spares_the_others() -> None:
    one = runner(Side.SLM)
    kept, freed = one.open(), one.open()
    ids = {kept: list(prompt(4))}
    one.extend([Extend(kept, ids[kept]), Extend(freed, [7, 8])])
    one.free(freed)
    with pytest.raises(KeyError):
        one.extend([Extend(kept, [9]), Extend(freed, [9])])
    assert_rows(Side.SLM, one, ids)


@pytest.mark.parametrize("counts", [(1, 20), (12, 20), (40, 20), (40, 3)])
def test_an_overflow_stays_in_its_own_row(
    counts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row whose activations became NaN gives its slot back; the next row there is sound, though
    the old content lies behind its tokens while a longer neighbour shares its padded batch."""
    one, embed = runner(Side.LLM), model(Side.LLM).model.embed_tokens
    neighbour, broken = one.open(), one.open()
    ids = {neighbour: list(prompt(30, 1))}
    one.extend([Extend(neighbour, ids[neighbour])])
    with monkeypatch.context() as patch:
        nan = torch.full((1, counts[0], 64), torch.nan)
        patch.setattr(embed, "forward", lambda _: nan)
        assert one.extend([Extend(broken, [5] * counts[0])]).isnan().all()
    one.free(broken)
    again = one.open()
    assert again == broken
    ids[again] = list(prompt(counts[1], 2))
    one.extend([Extend(again, ids[again])])
    got = one.extend([Extend(row, [50]) for row in ids])
    for i, row in enumerate(ids):
        off = differ(got[i], plain_logits(Side.LLM, [*ids[row], 50])[-1])
        assert off < TOLERANCE, f"row {row}: off by {off}"


def test_compiled_steps_equal_a_full_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded to a bucket, over the row's whole capacity; here run uncompiled, for speed. Two rows
    take turns, now and then together, and one is filled to the end of its context."""
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    one = TorchRunner(model(Side.LLM), 97, 4, LONGEST, compile=True)
    first, second = one.open(), one.open()
    ids: dict[int, list[int]] = {first: [], second: []}
    pick = random.Random(0)
    for n in [20, 1, 3, 1, 5, 16, 2, 1, 17, 9, 60, 16, 1, 33, 40, 15, 1, 1, 13, 1, 1, 1, 3]:
        rows = [first, second] if n == 2 else [second if n == 5 else first]
        fed = [Extend(row, [pick.randrange(97) for _ in range(n)]) for row in rows]
        got = one.extend(fed)
        for i, item in enumerate(fed):
            ids[item.row] += item.tokens
            off = differ(got[i], plain_logits(Side.LLM, ids[item.row])[-1])
            assert off < TOLERANCE, f"{n} tokens up to {len(ids[item.row])}: off by {off:.1e}"
    assert len(ids[first]) == LONGEST
    one.truncate(first, 100)
    del ids[first][100:]
    assert_rows(Side.LLM, one, ids)


def test_as_many_of_the_last_distributions_as_each_row_wants() -> None:
    """Of one row and of several; with and without the states that they were made of."""
    one = runner(Side.LLM)
    ids = {one.open(): list(prompt(n, n)) for n in (9, 4, 12)}
    for counts in ((3, 1, 12), (1, 1, 1), (9, 4, 2)):
        fed = [Extend(row, tokens) for row, tokens in ids.items()]
        got, hidden = one.extend_hidden(fed, counts)
        for row in ids:
            one.truncate(row, 0)
        assert differ(one.extend(fed, counts), got) == 0
        with torch.inference_mode():
            assert differ(got, model(Side.LLM).lm_head(hidden)) < TOLERANCE
        ends = [
            plain_logits(Side.LLM, tokens)[-n:]
            for tokens, n in zip(ids.values(), counts, strict=True)
        ]
        assert differ(got, torch.cat(ends)) < TOLERANCE
        for row in ids:
            one.truncate(row, 0)
    (row, *_), tokens = ids, list(prompt(9, 9))
    assert (
        differ(one.extend([Extend(row, tokens)], [5]), plain_logits(Side.LLM, tokens)[-5:]) < 1e-4
    )


def test_hidden_states_of_a_compiled_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a pass is not compiled; it shares the row's memory with those that are."""
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    one = TorchRunner(model(Side.LLM), 97, 4, LONGEST, compile=True)
    row, ids = one.open(), list(prompt(20))
    one.extend([Extend(row, ids[:18])])
    logits, hidden = one.extend_hidden([Extend(row, ids[18:19])])
    assert hidden.shape == (1, 64)
    assert differ(logits, plain_logits(Side.LLM, ids[:19])[-1:]) < TOLERANCE
    logits = one.extend([Extend(row, ids[19:])])
    assert differ(logits, plain_logits(Side.LLM, ids)[-1:]) < TOLERANCE


def test_compiled_steps_leave_rows_that_share_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    one = TorchRunner(model(Side.LLM), 97, 4, LONGEST, compile=True)
    ids, first = list(prompt(140)), one.open()
    one.extend([Extend(first, ids)])
    rows = {first: ids, one.fork(first, 139): ids[:139], one.open(): []}
    for count in (1, 3, 1):
        for row in rows:
            fed = [7 + count] * count
            rows[row] = [*rows[row], *fed]
            got = one.extend([Extend(row, fed)])
            assert differ(got[0], plain_logits(Side.LLM, rows[row])[-1]) < TOLERANCE
    assert one.kv.prefixed == 139


def test_both_ways_of_loading_have_the_same_weights() -> None:
    """Else every comparison here would say nothing."""
    for side in Side:
        mine, plain = model(side).state_dict(), model(side, "eager").state_dict()
        assert all(torch.equal(mine[name], plain[name]) for name in plain)
        assert model(side).config._attn_implementation == "rstitch"
        assert model(side, "eager").config._attn_implementation == "eager"


def test_rows_keep_their_handles_where_a_bound_moves_them() -> None:
    """Room for four rows of 20 tokens or two of 40; what a row has cached moves with it."""
    one = runner(Side.LLM, max_rows=6)
    assert one.bound(80 * int(one.token_bytes * 1.25)) == 80  # two layers: a slab is a quarter
    ids = {one.open(): list(prompt(15 + n, n)) for n in range(4)}
    one.extend([Extend(row, tokens) for row, tokens in ids.items()])
    before = dict(one.kv.slot_of)
    for row in list(ids)[:2]:
        one.free(row)
        del ids[row]
    for row in ids:
        one.extend([Extend(row, more := list(prompt(20, 90 + row)))])
        ids[row] += more
    assert {row: slot for row, slot in before.items() if row in ids} != one.kv.slot_of
    assert_rows(Side.LLM, one, ids)
    with pytest.raises(RuntimeError, match="3 rows of 38 tokens exceed 80 KV cells"):
        one.open()
    assert_rows(Side.LLM, one, ids)


def test_both_sides_fit_under_dynamos_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts per code object, which the sides share: the second side stayed eager at 8."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    CompiledStep(model(Side.SLM))
    assert torch._dynamo.config.recompile_limit >= 2 * len(BUCKETS)
