"""Step costs before the first request: measured once, quickly, on a fake clock here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from rstitch.config import EngineConfig
from rstitch.costs import LinearCosts, ObservedCosts, save_profile
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.measure import measure
from rstitch.engine.request import Request
from rstitch.engine.runner import Extend, Wanted
from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.types import Side
from tests.fakes import EOS
from tests.hashed import Clock, Hashed, hashed
from tests.models import assert_clean, engine, run

SLM, LLM = Side.SLM, Side.LLM


def runners(rows: int = 20, cells: int = 10**6) -> tuple[Clock, dict[Side, Any]]:
    clock = Clock()
    made = {side: Hashed(side, clock, rows, rectangle=True) for side in Side}
    for one in made.values():
        one.cells = cells
    return clock, made


def ask(policy: str = "entropy") -> Request:
    rule = make("entropy", tau=0.5) if policy == "entropy" else make(policy)
    return Request({SLM: (2, 3), LLM: (4, 5)}, rule, max_tokens=8, ignore_eos=True)


def test_what_is_measured_is_what_steps_cost() -> None:
    """A line through one row and sixteen; a handful of steps; nothing stays open."""
    clock, two = runners()
    costs = ObservedCosts()
    measure(two, {SLM: [], LLM: []}, costs, 20, clock)
    for side, ratio in ((SLM, 1), (LLM, 5)):
        for rows in (1, 8, 16):
            want = ratio * (1 + 0.01 * rows)
            assert costs.seconds(side, rows) == pytest.approx(want, rel=1e-6), (side, rows)
        assert [len(call) for call in two[side].calls] == [1] * 4 + [16] * 4
        assert two[side].ids == {}


class Reader(Hashed):
    """Takes a hundredth of a step for each token beside the first, as long as it is asked to."""

    def extend(self, batch: Sequence[Extend], logits: Wanted = "last") -> Tensor:
        self.clock.now += 0.01 * sum(len(one.tokens) - 1 for one in batch)
        return super().extend(batch, logits)


@pytest.mark.parametrize(("longest", "cost"), [(79, 0.0), (80, 0.01)])
def test_what_reading_costs_is_measured_where_rows_are_long_enough(
    longest: int, cost: float
) -> None:
    clock = Clock()
    one = Reader(SLM, clock, 1, rectangle=True)
    one.max_length, one.cells = longest, 10**6
    costs = ObservedCosts()
    measure({SLM: one}, {SLM: []}, costs, 1, clock)
    assert costs.reading(SLM) == pytest.approx(cost)
    assert one.ids == {}


def test_an_engine_learns_what_reading_costs() -> None:
    """Measured, and then of passes that catch up."""
    clock = Clock()
    two = {side: Reader(side, clock, 2, rectangle=True) for side in Side}
    for one in two.values():
        one.max_length, one.cells = 200, 10**6
    config = EngineConfig(max_rows=2, measure_costs=False)
    pair = InProcessEngine(two, frozenset({EOS}), config, None, clock)
    assert pair.reading(LLM) == 0
    pair.measure()
    assert pair.reading(LLM) == pytest.approx(0.01)
    two[LLM].clock = Clock()  # it reads in no time now
    prompt = tuple([2, 3] * 50)
    run(pair, [Request(dict.fromkeys(Side, prompt), make("llm"), max_tokens=2)])
    assert pair.reading(LLM) < 0.001


@pytest.mark.parametrize(
    ("most", "held", "cells", "counts"),
    [(1, 0, 10**6, [1]), (6, 0, 10**6, [1, 6]), (6, 4, 10**6, [1, 2]), (6, 6, 10**6, [])]
    + [(6, 0, 12, [1]), (6, 0, 3, [])],
)
def test_only_as_many_rows_as_there_is_room_for(
    most: int, held: int, cells: int, counts: list[int]
) -> None:
    clock, two = runners(most, cells)
    measure({SLM: two[SLM]}, {SLM: [3] * held}, ObservedCosts(), most, clock)
    assert sorted({len(call) for call in two[SLM].calls}) == counts


def test_a_step_that_fails_is_left_out_and_leaves_no_row_open() -> None:
    clock, two = runners()
    two[SLM].fail_on = lambda batch: len(batch) > 1
    costs = ObservedCosts()
    measure(two, {SLM: [], LLM: []}, costs, 20, clock)
    assert two[SLM].ids == {}
    assert costs.seconds(SLM, 1) == pytest.approx(1.01), "the step of one row was sound"


def test_an_engine_measures_once_when_rows_may_wait_for_each_other() -> None:
    two = hashed(measure_costs=True)
    run(two, [ask()])
    run(two, [ask("slm"), ask("slm")])
    assert two.runners[LLM].calls == [] or max(map(len, two.runners[LLM].calls)) == 1
    before = len(two.runners[LLM].calls)
    two.submit(ask())
    two.submit(ask())
    two.step()
    assert len(two.runners[LLM].calls) == before + 8
    assert two.seconds(LLM, 1) == pytest.approx(5.05, rel=0.01)
    run(two, [ask()] * 4)
    assert_clean(two)
    assert not [c for c in two.runners[LLM].calls[before + 8 :] if c[0] == [0]], "measured twice"


def test_a_profile_replaces_measuring(tmp_path: Path) -> None:
    save_profile(tmp_path / "p.json", LinearCosts((1.0, 7.0), (0.0, 0.1)))
    two = hashed(measure_costs=True, profile=str(tmp_path / "p.json"))
    assert two.seconds(SLM, 1) == pytest.approx(1.0)
    assert two.seconds(LLM, 1) == pytest.approx(7.1)
    two.submit(ask())
    two.submit(ask())
    two.step()
    assert two.runners[LLM].calls == []
    with pytest.raises(BadRequest, match="profile /nowhere.json cannot be read"):
        hashed(profile="/nowhere.json")


def test_measuring_a_random_pair_takes_no_time() -> None:
    """And changes no answer."""
    requests = [ask()] * 3
    pair = engine(measure_costs=True)
    started = time.perf_counter()
    got = run(pair, requests)
    assert time.perf_counter() - started < 10
    assert [a.steps for a in got] == [a.steps for a in run(engine(), requests)]
    assert all(pair.seconds(side, 1) > 0 for side in (SLM, LLM))


def test_pinned_and_stitched_rows_in_one_batch_and_nobody_starves() -> None:
    """Eight and eight, with real tokens: between two passes of a row lie at most two LLM steps, the
    step under way and one of the other side."""
    two = hashed(max_rows=16)
    requests = [ask("slm" if n % 2 else "entropy") for n in range(16)]
    ids = [two.submit(request) for request in requests]
    last, longest = dict.fromkeys(ids, 0.0), 0.0
    passes = dict.fromkeys(ids, 0)
    clock = two.clock
    while not two.idle:
        two.step()
        for name, row in two.scheduler.active.items():
            if len(row.forwards) > passes[name]:
                passes[name] = len(row.forwards)
                longest = max(longest, clock() - last[name])
                last[name] = clock()
    step = 5 * 1.16
    assert 0 < longest <= 2 * step + 2 * step + step, f"{longest:.1f} seconds between passes"
    assert_clean(two)
