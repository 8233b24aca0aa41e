"""What vLLM's benchmarks compute by themselves; no vLLM is needed for that."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import vllm_bound as bound
from benchmarks import vllm_passes as timing
from benchmarks.vllm_load import Asked, Window
from benchmarks.vllm_pair import LEAVE, RETURN
from benchmarks.vllm_passes import Pass
from rstitch.types import Side

PRICES = {Side.SLM: {1: 0.01, 4: 0.016}, Side.LLM: {1: 0.06, 4: 0.06, 32: 0.16}}
SHARE = (1 / RETURN) / (1 / RETURN + (1 - LEAVE) / LEAVE)


def flat(slm: float, llm: float) -> bound.Prices:
    return {Side.SLM: {1: slm}, Side.LLM: {1: llm}}


def test_a_price_lies_between_its_neighbours_and_goes_on_behind_the_last() -> None:
    known = {2: 1.0, 4: 2.0, 8: 3.0}
    assert [bound.price(known, count) for count in (1, 2, 3, 8)] == [1.0, 1.0, 1.5, 3.0]
    assert bound.price(known, 11) == pytest.approx(4.0)
    assert bound.price({4: 2.0}, 9) == 2.0


def test_a_row_reads_what_the_other_side_wrote() -> None:
    """The SLM keeps one, discards one; then the LLM reads the prompt, that one and nothing else."""
    row = bound.Row(10)

    class Rigged(random.Random):
        coins = iter([1.0, 0.0, 1.0])

        def random(self) -> float:
            return next(self.coins)

    rng = Rigged()
    assert (row.read(rng), row.unseen[Side.LLM]) == (1, bound.PROMPT + 1)
    assert (row.read(rng), row.side) == (0, Side.LLM)
    assert (row.read(rng), row.side, row.left) == (1, Side.LLM, 8)
    assert row.unseen == {Side.SLM: 1, Side.LLM: 1}


def test_alone_a_row_gains_nothing_from_a_second_engine() -> None:
    """And what it gets is what hand-offs by coins cost: within 5 %, for 300 seconds of them."""
    both = bound.apart(1, flat(0.01, 0.06)), bound.in_turns(1, flat(0.01, 0.06))
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    visit = 0.01 / LEAVE + 0.06 / RETURN
    assert both[0] == pytest.approx((1 / RETURN) / SHARE / visit, rel=0.05)


def test_more_rows_bring_more_and_cores_of_ones_own_are_never_worse() -> None:
    assert bound.apart(1, PRICES) < bound.apart(4, PRICES)
    assert bound.in_turns(4, PRICES) <= bound.apart(4, PRICES)


def test_where_both_compute_at_once() -> None:
    mine = [Pass(0.0, 1.0, (1,)), Pass(2.0, 4.0, (1,))]
    others = [Pass(0.5, 2.5, (1,)), Pass(3.0, 3.5, (1,))]
    assert timing.together(mine, others) == pytest.approx(0.5 + 0.5 + 0.5)
    assert timing.together(others, mine) == pytest.approx(1.5)
    assert timing.together(mine, []) == 0.0


def test_a_timeline_of_both_engines(tmp_path: Path) -> None:
    lines = [[9.0, 9.5, [1]], [10.0, 11.0, [1, 5]], [11.001, 12.0, [1]], [12.5, 13.0, [1]]]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "llm.jsonl").write_text(text)
    (tmp_path / "slm.jsonl").write_text("")
    window = Window(10.0, 14.0)
    sides = {side: timing.passes(tmp_path, side, window) for side in Side}
    found = timing.timeline(sides, window)
    assert found["slm"]["passes"] == found["slm"]["busy"] == 0
    told = found["llm"]
    assert told["passes"] == 3
    assert told["busy"] == pytest.approx(2.499 / 4)
    assert told["rows"] == pytest.approx(4 / 3)
    assert told["tokens"] == pytest.approx(8 / 3)
    assert (told["idle_times"], told["idle"]) == (1, pytest.approx(0.5 / 4))
    assert timing.by_tokens(sides[Side.LLM]) == {1: pytest.approx(0.7495), 6: 1.0}
    assert timing.by_rows(sides[Side.LLM]) == {1: pytest.approx(0.7495)}


def test_the_first_answers_have_all_lengths() -> None:
    asked = Asked([], 96, 4, 1.0)
    assert list(islice(asked.lengths(), 6)) == [24, 48, 72, 96, 96, 96]
    assert min(islice(Asked([], 8, 16, 1.0).lengths(), 16)) >= 1
