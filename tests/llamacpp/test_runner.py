"""The llama.cpp runner: any order of extend, truncate and fork equals a full forward pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rstitch.engine.runner import Extend
from rstitch.types import Side
from tests.histories import ROWS, differ, play
from tests.llamacpp import random_pair
from tests.llamacpp.random_pair import LENGTH, runner
from tests.models import model, plain_logits, prompt
from tests.same import TOLERANCE

from rstitch.llamacpp import cells  # isort: skip  # after random_pair, which may skip


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("seed", range(4))
def test_random_histories_equal_a_full_forward(side: Side, seed: int) -> None:
    """In memory that has to grow on the way. Twice the tolerance: torch's two passes round alike in
    most places, llama.cpp's in none, and of thousands of logits here the worst counts."""
    one = runner(side, max_rows=ROWS)
    one.kv._start = cells.PAGE
    play(side, one, seed, 60, 2 * TOLERANCE)


@pytest.mark.parametrize("logits", ["last", "all"])
@torch.inference_mode()
def test_hidden_states_are_what_the_head_reads(logits: str) -> None:
    one, core = runner(Side.LLM), model(Side.LLM, "eager").model
    rows, prompts = [one.open(), one.open()], [list(prompt(20, 1)), list(prompt(3, 2))]
    fed = [Extend(row, ids) for row, ids in zip(rows, prompts, strict=True)]
    out, hidden = one.extend_hidden(fed, logits)
    states = [core(torch.tensor([ids])).last_hidden_state[0] for ids in prompts]
    plain = [plain_logits(Side.LLM, ids) for ids in prompts]
    last = slice(-1, None) if logits == "last" else slice(None)
    assert differ(hidden, torch.cat([s[last] for s in states])) < TOLERANCE
    assert differ(out, torch.cat([p[last] for p in plain])) < TOLERANCE
    after = one.extend([Extend(rows[0], [9])])  # and passes without them go on as before
    assert differ(after, plain_logits(Side.LLM, [*prompts[0], 9])[-1:]) < TOLERANCE


def test_growing_keeps_every_row() -> None:
    one = runner(Side.LLM, max_rows=6)
    one.kv._start = cells.PAGE
    ids = {one.open(): list(prompt(100 + n, n)) for n in range(6)}
    sizes = set()
    for row, tokens in ids.items():
        one.extend([Extend(row, tokens)])
        sizes.add(one.nbytes)
    assert len(sizes) > 1, "the test says nothing where nothing grew"
    got = one.extend([Extend(row, [50]) for row in ids])
    want = torch.cat([plain_logits(Side.LLM, [*tokens, 50])[-1:] for tokens in ids.values()])
    assert differ(got, want) < TOLERANCE


def test_a_bound_holds_while_growing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new memory together never exceed it."""
    alive: dict[int, int] = {}
    most = [0]
    made = cells.Cells._made

    def counted(self: cells.Cells, size: int) -> object:
        context = made(self, size)
        close = context.close
        alive[id(context)] = context.cells * self.token_bytes
        most[0] = max(most[0], sum(alive.values()))

        def closing() -> None:
            alive.pop(id(context), None)
            close()

        context.close = closing
        return context

    one = runner(Side.SLM, max_rows=8)
    monkeypatch.setattr(cells.Cells, "_made", counted)
    one.kv._start = cells.PAGE
    allowed = 6 * cells.PAGE * one.token_bytes + 17
    limit = one.bound(allowed)
    assert limit == LENGTH
    rows: list[int] = []
    while one.fits([*(one.cached(row) for row in rows), 200]):
        rows.append(one.open())
        one.extend([Extend(rows[-1], prompt(200))])
    assert len(rows) == 5, "two thirds of the bound are for rows"
    assert 0 < most[0] <= allowed
    with pytest.raises(cells.OutOfCells, match="tokens exceed"):
        one.extend([Extend(one.open(), prompt(200))])


def test_too_small_a_bound_holds_no_row() -> None:
    one = runner(Side.SLM)
    assert one.bound(cells.PAGE * one.token_bytes - 1) == 0
    assert not one.fits([1])


def test_a_row_holds_up_to_its_longest_and_no_more() -> None:
    ids, one = list(prompt(LENGTH)), runner(Side.LLM)
    row = one.open()
    got = one.extend([Extend(row, ids)])
    assert differ(got, plain_logits(Side.LLM, ids)[-1:]) < TOLERANCE
    with pytest.raises(RuntimeError, match="257 tokens exceed the 256"):
        one.extend([Extend(row, [5])])
    assert one.cached(row) == LENGTH
    one.kv.check_integrity()


def test_truncation_outside_a_row_is_refused() -> None:
    one = runner(Side.SLM)
    row = one.open()
    one.extend([Extend(row, [5, 6, 7])])
    for n in (-1, 4):
        with pytest.raises(ValueError, match=f"a row of 3 tokens to {n}"):
            one.truncate(row, n)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_pass_that_fails_changes_nothing(hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp has cached some of it by then."""
    one = runner(Side.LLM)
    ids = {one.open(): list(prompt(12, 1)), one.open(): list(prompt(5, 2))}
    one.extend([Extend(row, tokens) for row, tokens in ids.items()])
    context = one.kv.context
    decode, calls = context._decode, []

    def failing(handle: object, batch: object) -> int:
        calls.append(decode(handle, batch))
        return -3

    with monkeypatch.context() as patch:
        patch.setattr(context, "_decode", failing)
        run = one.extend_hidden if hidden else one.extend
        with pytest.raises(RuntimeError, match="llama.cpp failed with status -3"):
            run([Extend(row, [60, 61]) for row in ids])
    assert calls and not any(calls)
    one.kv.check_integrity()
    assert {row: one.cached(row) for row in ids} == {r: len(i) for r, i in ids.items()}
    got = one.extend([Extend(row, [50]) for row in ids])
    want = torch.cat([plain_logits(Side.LLM, [*tokens, 50])[-1:] for tokens in ids.values()])
    assert differ(got, want) < TOLERANCE


def test_hidden_states_of_a_pass_that_needs_more_cells() -> None:
    """Its context is another one then, which has to be told to yield them."""
    one = runner(Side.LLM)
    one.kv._start = cells.PAGE
    one.extend([Extend(one.open(), prompt(cells.PAGE - 4, 1))])
    before, tokens = one.kv.context, list(prompt(8, 2))
    out, hidden = one.extend_hidden([Extend(one.open(), tokens)])
    assert one.kv.context is not before
    assert differ(out, plain_logits(Side.LLM, tokens)[-1:]) < TOLERANCE
    assert hidden.shape == (1, one.model.width)


def test_rows_run_out() -> None:
    one = runner(Side.SLM, max_rows=2)
    rows = [one.open(), one.open()]
    with pytest.raises(RuntimeError, match="all 2 rows are taken"):
        one.open()
    one.free(rows[0])
    assert one.open() == rows[0]


def test_logits_are_the_buffer_of_llamacpp_and_not_a_copy() -> None:
    """So they are good until the next pass, as `Runner.extend` says."""
    one = runner(Side.SLM)
    row = one.open()
    first = one.extend([Extend(row, [5])])
    before = first.clone()
    second = one.extend([Extend(row, [6])])
    assert first.data_ptr() == second.data_ptr()
    assert not torch.equal(first, before)


def test_half_precision_memory_is_near() -> None:
    """f16 and q8_0 KV, with and without flash attention: not exact, not nonsense."""
    ids = list(prompt(60, 3))
    want = plain_logits(Side.LLM, ids)
    for kv_type, flash, most in (("f16", "on", 0.05), ("f16", "off", 0.05)):
        settings = replace(random_pair.EXACT, kv_type=kv_type, flash_attention=flash)
        one = runner(Side.LLM, settings=settings)
        got = one.extend([Extend(one.open(), ids)], "all")
        assert TOLERANCE < differ(got, want) < most * float(want.std())


def test_threads_are_settable() -> None:
    one = runner(Side.LLM)
    row = one.open()
    one.set_threads(2)
    got = one.extend([Extend(row, list(prompt(30)))])
    assert differ(got, plain_logits(Side.LLM, prompt(30))[-1:]) < TOLERANCE
