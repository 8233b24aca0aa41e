"""Pages against a plain dict of lists: nothing lost, nothing shared that is written to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rstitch.engine.batch import Span
from rstitch.engine.paged import reference
from rstitch.engine.paged.batch import PagedBatch
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.paged.pages import SCRATCH, OutOfPages, Pages

LAYERS, HEADS, KEY_DIM, VALUE_DIM = 2, 2, 3, 2
SLOTS, LENGTH, PAGE = 6, 40, 4
TOKEN = [4 * HEADS * dim for dim in (KEY_DIM, VALUE_DIM)] * LAYERS
"""Bytes of a token in each pool."""


def write(memory: PagedKV, fed: dict[int, list[float]]) -> None:
    """Append as a forward pass does: in layer l, token x has keys x + l and values -x - l."""
    memory.grow(len(memory.length), [(slot, len(numbers)) for slot, numbers in fed.items()])
    spans = [Span(slot, memory.length[slot], len(numbers)) for slot, numbers in fed.items()]
    batch = PagedBatch.of(memory, spans, torch.device("cpu"))
    token = torch.tensor([x for numbers in fed.values() for x in numbers])[:, None, None]
    for layer in range(LAYERS):
        key = (token + layer).expand(-1, HEADS, KEY_DIM)
        value = (-token - layer).expand(-1, HEADS, VALUE_DIM)
        reference.store(key, value, *memory.layer(layer, key, value), batch.cells)
    for span in spans:
        memory.length[span.slot] = span.end


def read(memory: PagedKV, slot: int) -> list[float]:
    """The tokens of a slot's row; fails where heads, dimensions, layers or values disagree."""
    found = []
    cells = memory.cells(slot, 0, memory.length[slot])
    for layer, pools in memory.layers.items():
        for pool, sign in zip(pools, (1, -1), strict=True):
            tokens = pool.flatten(0, 1)[cells] * sign - layer
            first = tokens[:, 0, 0]
            assert torch.equal(tokens, first[:, None, None].expand_as(tokens)), tokens
            found.append(first.tolist())
    assert all(one == found[0] for one in found), found
    return found[0] if found else []


class Rows(RuleBasedStateMachine):
    """Random opens, writes to several rows at once, forks, truncations and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = PagedKV(SLOTS, LENGTH, PAGE)
        self.memory.limit((SLOTS * LENGTH // PAGE // 2 + 1) * PAGE * sum(TOKEN), TOKEN)
        self.rows: dict[int, list[float]] = {}
        self.next = 1.0

    @precondition(lambda self: len(self.rows) < SLOTS)
    @rule()
    def open(self) -> None:
        self.memory.grow(len(self.rows) + 1)
        self.rows[self.memory.open()] = []

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        slots = data.draw(st.lists(st.sampled_from(sorted(self.rows)), min_size=1, unique=True))
        fed = {}
        for slot in slots:
            n = data.draw(st.integers(1, 11))
            fed[slot] = [self.next + i for i in range(n)]
            self.next += n
        lengths = {slot: len(ids) + len(fed.get(slot, ())) for slot, ids in self.rows.items()}
        if self.memory.fits(list(lengths.values())):
            write(self.memory, fed)
            for slot, numbers in fed.items():
                self.rows[slot] += numbers
        else:
            before = {slot: list(table) for slot, table in self.memory.pages.tables.items()}
            try:
                write(self.memory, fed)
            except (OutOfPages, RuntimeError):
                kept = {slot: self.memory.pages.needed(len(ids)) for slot, ids in self.rows.items()}
                for slot, table in self.memory.pages.tables.items():
                    assert table[: kept[slot]] == before[slot][: kept[slot]], "a failure moves none"
            else:  # what they share made room
                for slot, numbers in fed.items():
                    self.rows[slot] += numbers

    @precondition(lambda self: 0 < len(self.rows) < SLOTS)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.rows)))
        n = data.draw(st.integers(0, len(self.rows[slot])))
        used = self.memory.pages.used
        self.rows[self.memory.fork(slot, n)] = self.rows[slot][:n]
        assert self.memory.pages.used == used, "a fork takes no page"

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.rows)))
        n = data.draw(st.integers(0, len(self.rows[slot])))
        self.memory.truncate(slot, n)
        del self.rows[slot][n:]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.rows)))
        self.memory.close(slot)
        del self.rows[slot]

    @invariant()
    def holds_what_was_written(self) -> None:
        assert {slot: read(self.memory, slot) for slot in self.rows} == self.rows
        assert self.memory.held == sum(map(len, self.rows.values()))
        self.memory.check_integrity()

    def teardown(self) -> None:
        for slot in list(self.rows):
            self.memory.close(slot)
        assert self.memory.pages.used == 0, "a page was lost"


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_fork_copies_the_last_page_when_either_writes() -> None:
    """By hand: pages of 4, 6 tokens shared; who writes second keeps the page itself."""
    memory = PagedKV(SLOTS, LENGTH, PAGE)
    one = memory.open()
    write(memory, {one: [1, 2, 3, 4, 5, 6]})
    two = memory.fork(one, 6)
    assert memory.pages.used == 2 and memory.pages.tables[one] == memory.pages.tables[two]
    write(memory, {one: [7], two: [8]})
    assert memory.pages.used == 3
    assert memory.pages.tables[one][0] == memory.pages.tables[two][0]
    assert (read(memory, one), read(memory, two)) == ([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 8])


def test_two_writers_of_one_page_need_one_page_more() -> None:
    """So rows that fit by themselves never fail because they have shared."""
    pages = Pages(2, 4)
    pages.tables = {0: [], 1: []}
    pages.extend([(0, 0, 3)])
    pages.share(0, 1, 1)
    assert len(pages.extend([(0, 3, 4), (1, 3, 4)])) == 1
    pages.check_integrity()


def test_what_a_failed_pass_had_reserved_is_given_back_when_it_is_needed() -> None:
    memory = PagedKV(2, 8, 4)
    one, two = memory.open(), memory.open()
    memory.pages = Pages(2, 4)
    memory.pages.tables = {one: [], two: []}
    memory.grow(2, [(one, 8)])
    assert memory.pages.used == 2 and memory.length[one] == 0
    memory.grow(2, [(two, 8)])
    assert memory.pages.tables == {one: [], two: [1, 2]} or memory.pages.used == 2
    memory.check_integrity()


def test_what_does_not_fit_is_told_with_the_numbers_and_changes_nothing() -> None:
    memory = PagedKV(2, 40, 4)
    memory.limit(4 * 4 * 8, [4, 4])
    assert memory.pages.count == 3
    one = memory.open()
    memory.grow(1, [(one, 8)])
    memory.length[one] = 8
    with pytest.raises(OutOfPages, match="2 more pages of 4 tokens are needed, 1 of 3 are free"):
        memory.grow(1, [(one, 8)])
    assert len(memory.pages.tables[one]) == 2
    with pytest.raises(RuntimeError, match="48 tokens exceed the 40"):
        memory.grow(1, [(one, 40)])
    memory.check_integrity()


def test_a_bound_holds_whole_pages_and_the_one_for_nobody() -> None:
    memory = PagedKV(4, 100, 16)
    assert memory.limit(10**9, [64, 64]) == 100 and memory.pages.count == 4 * 7
    assert memory.limit(128 * 16 * 4, [64, 64]) == 48 and memory.pages.count == 3
    assert memory.fits([16, 17]) and not memory.fits([17, 17]) and not memory.fits([1] * 5)
    key = torch.zeros(1, 1, 16)
    memory.layer(0, key, key)
    assert memory.nbytes <= 128 * 16 * 4 and memory.token_bytes == [64, 64]


def test_the_page_of_nobody_is_in_no_row() -> None:
    memory = PagedKV(1, 8, 4)
    slot = memory.open()
    memory.grow(1, [(slot, 8)])
    assert SCRATCH not in memory.pages.tables[slot]
    assert memory.table([slot], 3) == [[*memory.pages.tables[slot], SCRATCH]]
