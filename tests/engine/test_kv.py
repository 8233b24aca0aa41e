"""KV memory against a plain dict of lists: nothing lost, nothing shared by mistake."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rstitch.engine import kv
from rstitch.engine.kv import KVSlabs, OutOfCells
from tests.slabs import count_slabs

LAYERS, HEADS, KEY_DIM, VALUE_DIM = 2, 2, 3, 2
SLOTS, LENGTH = 6, 40


@contextmanager
def small_slabs() -> Iterator[None]:
    """Start from one slot of two tokens, so that every growth is walked through, and share what
    has three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kv, "MIN_SHARED", 3)
        patch.setattr(kv, "MIN_SLOTS", 1)
        patch.setattr(kv, "MIN_CAPACITY", 2)
        yield


def slabs(max_slots: int = SLOTS, max_length: int = LENGTH) -> KVSlabs:
    with small_slabs():
        return KVSlabs(max_slots, max_length)


def write(memory: KVSlabs, slot: int, numbers: list[float]) -> None:
    """Append as a forward pass does: in layer l, token x has keys x + l and values -x - l."""
    start = memory.length[slot]
    end = start + len(numbers)
    memory.reserve(end)
    token = torch.tensor(numbers)[None, :, None]
    for layer in range(LAYERS):
        keys, values = memory.layer(
            layer,
            (token + layer).expand(HEADS, -1, KEY_DIM),
            (-token - layer).expand(HEADS, -1, VALUE_DIM),
        )
        keys[slot, :, start:end] = token + layer
        values[slot, :, start:end] = -token - layer
    memory.length[slot] = end


def read(memory: KVSlabs, slot: int) -> list[float]:
    """The tokens of a slot's row; fails where heads, dimensions, layers or values disagree."""
    n, share = memory.length[slot], memory.shares.get(slot)
    found = []
    for layer, slabs in memory.layers.items():
        for part, sign in ((0, 1), (1, -1)):
            tokens = slabs[part][slot, :, :n]
            if share:
                before = share.prefix.parts[layer, part][:, : share.tokens]
                tokens = torch.cat([before, tokens], dim=1)
            tokens = tokens * sign - layer
            first = tokens[0, :, 0]
            assert torch.equal(tokens, first[None, :, None].expand_as(tokens)), tokens
            found.append(first.tolist())
    assert all(one == found[0] for one in found), found
    return found[0] if found else []


class Memory(RuleBasedStateMachine):
    """Random opens, writes, forks, truncations and closes."""

    cells = SLOTS * LENGTH

    def __init__(self) -> None:
        super().__init__()
        self.real = slabs()
        self.real.bound(self.cells)
        self.model: dict[int, list[float]] = {}
        self.numbers = map(float, itertools.count(1))

    def pick(self, which: int) -> int:
        return list(self.model)[which % len(self.model)]

    def taken(self, slot: int) -> int:
        assert slot not in self.model, f"slot {slot} is taken already: {self.model}"
        return slot

    def room(self, rows: int, tokens: int, slot: int | None = None) -> bool:
        """Make it, following the rows that move; False where there is none, and nothing changed."""
        longest, own = max([tokens, *map(len, self.model.values())]), tokens
        if slot in self.real.shares:
            own -= self.real.shares[slot].tokens
        if not self.real.holds(rows, own):
            with pytest.raises(OutOfCells, match=f"{rows} rows of .* tokens exceed"):
                self.real.make_room(rows, own)
            if not self.real.fits([longest] * rows):
                with pytest.raises(OutOfCells, match=f"{rows} rows of {longest} tokens exceed"):
                    self.real.dissolve(rows, tokens)
                return False
            self.moved(self.real.dissolve(rows, tokens))
            assert self.real.shares == {}
            own = tokens
        self.moved(self.real.make_room(rows, own))
        return True

    def moved(self, moves: dict[int, int]) -> None:
        self.model = {moves.get(slot, slot): numbers for slot, numbers in self.model.items()}

    @rule()
    def open(self) -> None:
        if len(self.model) == SLOTS:
            with pytest.raises(RuntimeError, match=f"all {SLOTS} KV slots are taken"):
                self.real.open()
        elif self.room(len(self.model) + 1, 0):
            self.model[self.taken(self.real.open())] = []

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, SLOTS), count=st.integers(1, 15))
    def write(self, which: int, count: int) -> None:
        slot = self.pick(which)
        if len(self.model[slot]) + count > LENGTH:
            with pytest.raises(RuntimeError, match=f"exceed the {LENGTH}"):
                self.real.reserve(len(self.model[slot]) + count)
        elif self.room(len(self.model), len(self.model[slot]) + count, slot):
            slot = self.pick(which)
            numbers = list(itertools.islice(self.numbers, count))
            write(self.real, slot, numbers)
            self.model[slot] += numbers

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, SLOTS), less=st.integers(0, 3))
    def fork(self, which: int, less: int) -> None:
        slot = self.pick(which)
        n = max(0, len(self.model[slot]) - less)
        if len(self.model) == SLOTS:
            with pytest.raises(RuntimeError, match="taken"):
                self.real.fork(slot, n)
        elif self.room(len(self.model) + 1, 0):
            slot = self.pick(which)
            other = self.taken(self.real.fork(slot, n))
            self.model[other] = self.model[slot][:n]

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, SLOTS), keep=st.integers(0, LENGTH))
    def truncate(self, which: int, keep: int) -> None:
        slot = self.pick(which)
        keep = min(keep, len(self.model[slot]))
        self.real.truncate(slot, keep)
        del self.model[slot][keep:]

    @precondition(lambda self: self.model)
    @rule(which=st.integers(0, SLOTS))
    def close(self, which: int) -> None:
        slot = self.pick(which)
        self.real.close(slot)
        del self.model[slot]

    @invariant()
    def holds_what_was_written(self) -> None:
        self.real.check_integrity()
        assert {s: read(self.real, s) or [] for s in self.real.length} == self.model
        lengths = {slot: len(numbers) for slot, numbers in self.model.items()}
        assert {slot: self.real.cached(slot) for slot in self.model} == lengths
        assert self.real.nbytes <= self.cells * 4 * HEADS * (KEY_DIM + VALUE_DIM) * LAYERS

    @invariant()
    def is_finite(self) -> None:
        """What is masked is multiplied by zero, so it must not be NaN."""
        for slab in itertools.chain.from_iterable(self.real.layers.values()):
            assert torch.isfinite(slab).all()


class BoundedMemory(Memory):
    """The same where not every row may be long: slabs change their shape and rows their slot."""

    cells = 2 * LENGTH


TestMemory, TestBoundedMemory = Memory.TestCase, BoundedMemory.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBoundedMemory.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


def test_slots_are_given_out_lowest_first_and_again() -> None:
    memory = slabs()
    assert [memory.open() for _ in range(4)] == [0, 1, 2, 3]
    memory.close(2)
    memory.close(0)
    assert [memory.open() for _ in range(3)] == [0, 2, 4]


def test_memory_grows_by_doubling_up_to_its_limits() -> None:
    memory = slabs(max_slots=5, max_length=23)
    seen = set()
    for _ in range(5):
        slot = memory.open()
        write(memory, slot, [1.0])
        seen.add(memory.slots)
    for _ in range(22):
        write(memory, 4, [2.0])
        seen.add(memory.capacity)
    assert memory.slots == 5 and memory.capacity == 23
    assert seen == {1, 2, 4, 5} | {2, 4, 8, 16, 23}
    keys, values = memory.layers[0]
    assert keys.shape == (5, HEADS, 23, KEY_DIM) and values.shape == (5, HEADS, 23, VALUE_DIM)
    assert memory.nbytes == LAYERS * 4 * 5 * HEADS * 23 * (KEY_DIM + VALUE_DIM)


def test_limits_below_the_starting_size_are_kept() -> None:
    memory = KVSlabs(1, 8)
    slot = memory.open()
    write(memory, slot, [1.0] * 8)
    assert memory.layers[0][0].shape[:3] == (1, HEADS, 8)
    with pytest.raises(RuntimeError, match="9 tokens exceed the 8"):
        memory.reserve(9)


def test_misuse_is_refused_and_changes_nothing() -> None:
    memory = slabs()
    slot = memory.open()
    write(memory, slot, [1.0, 2.0])
    for misuse in (memory.close, memory.cached, lambda slot: memory.fork(slot, 1)):
        with pytest.raises(KeyError):
            misuse(3)
        memory.check_integrity()
        assert memory.length == {slot: 2}, "changed through a slot that is not open"


def test_a_fork_goes_its_own_way() -> None:
    memory = slabs()
    one = memory.open()
    write(memory, one, [1.0, 2.0, 3.0])
    two = memory.fork(one, 2)
    write(memory, two, [9.0])
    write(memory, one, [4.0])
    assert (read(memory, one), read(memory, two)) == ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 9.0])


def fail_at(
    memory: KVSlabs,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException] = RuntimeError,
) -> None:
    """Growing the `call`-th slab from now on runs out of memory, once, or is interrupted."""
    grown, calls = KVSlabs._grown, itertools.count()

    def scarce(self: KVSlabs, old: torch.Tensor, rows: Any) -> torch.Tensor:
        if next(calls) == call:
            raise error("out of memory")
        return grown(self, old, rows)

    monkeypatch.setattr(KVSlabs, "_grown", scarce)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("call", range(2 * LAYERS))
def test_growth_that_fails_can_be_tried_again(
    call: int, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allocation that fails half-way must not leave slabs of different sizes behind. Nor may
    Ctrl-C, which is no Exception; it once left slots counted that no slab had."""
    memory = slabs()
    slot = memory.open()
    write(memory, slot, [1.0, 2.0])
    fail_at(memory, call, monkeypatch, error)
    with pytest.raises(error, match="out of memory"):
        memory.reserve(3)
    memory.check_integrity()
    assert read(memory, slot) == [1.0, 2.0]
    write(memory, slot, [3.0])
    assert read(memory, slot) == [1.0, 2.0, 3.0]


def test_a_slot_that_cannot_be_made_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = slabs()
    slot = memory.open()
    write(memory, slot, [1.0, 2.0])
    fail_at(memory, 1, monkeypatch)
    with pytest.raises(RuntimeError, match="out of memory"):
        memory.open()
    assert memory.length == {slot: 2}
    memory.check_integrity()
    other = memory.open()
    write(memory, other, [5.0])
    assert (read(memory, slot), read(memory, other)) == ([1.0, 2.0], [5.0])


@pytest.mark.parametrize("call", range(2 * LAYERS))
def test_a_fork_that_fails_leaves_empty_rows(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some slabs have given the row's first tokens to the prefix already."""
    memory = slabs()
    one, two = memory.open(), memory.open()
    write(memory, one, [1.0, 2.0, 3.0, 4.0])
    write(memory, two, [5.0])
    fail_at(memory, call, monkeypatch)
    with pytest.raises(RuntimeError, match="out of memory"):
        memory.fork(one, 4)
    memory.check_integrity()
    assert memory.length == {one: 0, two: 0} and memory.shares == {}
    write(memory, one, [1.0, 2.0, 3.0, 4.0])
    three = memory.fork(one, 3)
    write(memory, three, [7.0])
    assert (read(memory, one), read(memory, three)) == ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 7.0])


def test_a_prefix_lives_as_long_as_a_row_that_refers_to_it() -> None:
    memory = slabs()
    one = memory.open()
    write(memory, one, [1.0, 2.0, 3.0, 4.0])
    two = memory.fork(one, 4)
    three = memory.fork(two, 2)
    assert memory.prefixed == 4 and memory.length == {one: 0, two: 0, three: 0}
    memory.close(one)
    memory.truncate(two, 0)
    memory.check_integrity()
    assert memory.prefixed == 4 and read(memory, three) == [1.0, 2.0]
    memory.close(three)
    assert memory.prefixed == 0 and memory.shares == {}


@pytest.mark.parametrize("call", range(2 * LAYERS))
def test_a_move_that_fails_leaves_empty_rows(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the slabs already have their rows elsewhere: what was cached is lost, no row is."""
    memory = slabs()
    memory.bound(12)
    for number in range(4):
        memory.make_room(number + 1, 0)
        write(memory, memory.open(), [1.0, 2.0])
    memory.close(0)
    memory.close(1)
    fail_at(memory, call, monkeypatch)
    with pytest.raises(RuntimeError, match="out of memory"):
        memory.make_room(2, 6)
    memory.check_integrity()
    assert memory.length == {2: 0, 3: 0}
    moves = memory.make_room(2, 6)
    for slot in (2, 3):
        write(memory, moves.get(slot, slot), [5.0] * 6)
        assert read(memory, moves.get(slot, slot)) == [5.0] * 6


def test_under_a_bound_rows_move_together() -> None:
    """Twelve cells: four rows of three tokens, or two of six."""
    memory = slabs()
    memory.bound(12)
    for number in range(4):
        memory.make_room(number + 1, 0)
        write(memory, memory.open(), [number + 1.0] * 3)
    assert (memory.slots, memory.capacity) == (4, 3)
    assert memory.fits([3] * 4) and not memory.fits([3] * 3 + [4]) and not memory.fits([1] * 7)
    memory.close(0)
    memory.close(2)
    assert memory.make_room(2, 6) == {3: 0}
    assert (memory.slots, memory.capacity) == (2, 6)
    assert (read(memory, 0), read(memory, 1)) == ([4.0] * 3, [2.0] * 3)
    with pytest.raises(OutOfCells, match="2 rows of 7 tokens exceed 12 KV cells"):
        memory.make_room(2, 7)


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_holds_while_slabs_grow_and_move(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hundred random openings, writes, forks and closings as an engine asks for them: at the
    moment of each allocation all slabs and prefixes, those being replaced included, are within the
    bound's bytes."""
    alive, pick = count_slabs(monkeypatch), random.Random(seed)
    memory, cells = slabs(), pick.randint(20, 100)
    memory.bound(cells)
    reshaped, most, dissolved = set(), 0, 0

    def room(rows: int, slot: int | None = None, count: int = 0) -> dict[int, int]:
        """As the runner makes it; where rows went."""
        nonlocal dissolved
        moved = {one: one for one in memory.length}
        own, whole = (memory.length[slot], memory.cached(slot)) if slot is not None else (0, 0)
        if memory.shares and not memory.holds(rows, own + count):
            moved, own = memory.dissolve(rows, whole + count), whole
            dissolved += 1
        then = memory.make_room(rows, own + count)
        first = {one: moved.get(one, one) for one in lengths}
        return {one: then.get(new, new) for one, new in first.items()}

    for _ in range(300):
        lengths = {slot: memory.cached(slot) for slot in memory.length}
        tight = list(lengths.values())
        action = pick.choice(["open", "write", "write", "fork", "close"])
        rows = len(lengths)
        if action == "open" and rows < SLOTS and (rows + 1) * max([*tight, 1]) <= cells:
            room(rows + 1)
            memory.open()
        elif action == "write" and lengths:
            slot, count = pick.choice(list(lengths)), pick.randint(1, 9)
            longest = max([*tight, lengths[slot] + count])
            if longest <= LENGTH and rows * longest <= cells:
                write(memory, room(rows, slot, count)[slot], [1.0] * count)
        elif action == "fork" and lengths:
            slot = pick.choice(list(lengths))
            if rows < SLOTS and (rows + 1) * max([*tight, 1]) <= cells:
                memory.fork(room(rows + 1)[slot], lengths[slot])
        elif action == "close" and lengths:
            memory.close(pick.choice(list(lengths)))
        memory.check_integrity()
        reshaped.add((memory.slots, memory.capacity))
        most = max(most, memory.prefixed)
    cell = 4 * HEADS * (KEY_DIM + VALUE_DIM) * LAYERS
    largest = 4 * HEADS * max(KEY_DIM, VALUE_DIM)
    assert memory.nbytes == alive[0] <= cells * cell
    assert alive[1] <= cells * (cell + largest), f"peak of {alive[1]} bytes"
    assert len(reshaped) > 4 and most > 2, (reshaped, most)
