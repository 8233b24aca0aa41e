"""Measuring and replaying on a live engine: exact on a clock that only passes move."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rstitch.costs import ObservedRates
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.latency import check, grid
from rstitch.latency.forms import TERMS
from rstitch.latency.live import LEAVES, RETURNS, Live, Scattered
from rstitch.latency.measure import Measuring, Tell, quiet, typical
from rstitch.latency.price import price
from rstitch.latency.recorded import Recorded, label
from rstitch.latency.replay import replay
from rstitch.latency.shape import Shape
from rstitch.policy import make
from rstitch.policy.base import Signals
from rstitch.trace import Trace
from rstitch.types import Finished, Sampling, Side
from tests.latency.worlds import costed, forwards, truth

SLM, LLM = Side.SLM, Side.LLM


def recorded(*passes: tuple[str, int, int]) -> Recorded:
    trace = Trace("a", {"name": "entropy", "tau": 0.5}, Sampling(seed=1), {SLM: (1,), LLM: (1,)})
    trace.forwards = forwards(*passes)
    trace.end = {"usage": {"tokens": 3}}
    return Recorded(label(trace), trace)


ANSWER = recorded(("slm", 20, 20), ("slm", 1, 21), ("llm", 22, 22), ("slm", 3, 24), ("slm", 1, 25))


def test_what_is_measured_is_what_passes_cost() -> None:
    engine = costed()
    measuring = Measuring(engine, rows=8, context=200, rounds=1)
    measuring.round()
    found = measuring.costs()
    for side in Side:
        for shape in (Shape.even(1, 1, 100), Shape.even(3, 1, 50), Shape.even(1, 100, 30)):
            want = truth(side, shape)
            assert found.seconds(side, shape) == pytest.approx(want, rel=1e-6), (side, shape)
        assert engine.runners[side].ids == {}  # type: ignore[attr-defined]
    assert engine.idle and found.host.seconds(8) == 0.0
    assert {row[0] for row in measuring.table()} == {"slm", "llm"}


def test_little_time_leaves_points_out_and_says_which() -> None:
    measuring = Measuring(costed(), rows=8, context=200, budget=1e-9)
    every, core = len(measuring._points), grid.core(grid.Room(200, 8, 2048))
    with pytest.raises(BadRequest, match="too few passes of the SLM"):
        measuring.costs()
    measuring.round()
    assert len(measuring.left_out) == every - len(core) > 0
    assert set(measuring.costs().forms[SLM]) == set(TERMS), "a few of every kind are measured"


def test_a_busy_engine_is_not_measured_and_a_tiny_context_is_refused() -> None:
    engine = costed()
    engine.submit(Request({SLM: (1, 2)}, make("slm")))
    with pytest.raises(BadRequest, match="answers are being written"):
        replay(engine, ANSWER.trace.forwards)
    with pytest.raises(BadRequest, match="context of 3 tokens"):
        Measuring(costed(), rows=1, context=3)


def test_prices_are_raised_to_those_of_passes_in_flight() -> None:
    """There a row takes 0.1 ms more and a pass 0.5, whatever the grid says."""

    def formula(side: Side, shape: Shape) -> float:
        more = 5e-4 + 1e-4 * shape.rows if engine.loop.watch else 0.0
        return truth(side, shape) + more

    engine = costed(formula)
    measuring = Measuring(engine, rows=8, context=200, rounds=1)
    measuring.round()
    found = measuring.costs()
    for side in Side:
        assert found.forms[side]["one"].raised == pytest.approx([6e-4])
        assert found.forms[side]["catch-ups"].raised == pytest.approx([1e-4, 5e-4])
        shape = Shape.even(8, 3, 100)
        assert found.seconds(side, shape) == pytest.approx(truth(side, shape) + 1.3e-3)
    assert engine.idle and engine.loop.watch is None
    assert all(engine.runners[side].ids == {} for side in Side)  # type: ignore[attr-defined]


def test_what_an_engine_measures_once_is_no_part_of_its_steps() -> None:
    """Here only passes take time, so a step has none beside them. Nor does its table learn."""
    engine = costed(measure_costs=True)
    measuring = Measuring(engine, rows=8, context=200, rounds=1)
    measuring.round()
    assert measuring.costs().host.seconds(8) == 0.0
    assert engine.scheduler.rates == ObservedRates()


def test_answers_in_flight_leave_nothing_where_a_pass_fails() -> None:
    passes = count()

    def fails(side: Side, shape: Shape) -> float:
        if engine.loop.watch and next(passes) == 20:
            raise KeyboardInterrupt
        return 0.001

    engine = costed(fails)
    with pytest.raises(KeyboardInterrupt):
        Live(4).run(engine, 200, 1.0)
    assert engine.idle and engine.loop.watch is None
    assert all(engine.runners[side].ids == {} for side in Side)  # type: ignore[attr-defined]


def test_hand_offs_are_scattered_as_coins_would_have_them() -> None:
    rule = Scattered()
    for side, share in ((SLM, LEAVES), (LLM, RETURNS)):
        contexts = torch.arange(1.0, 1001.0)
        sides = torch.full((1000,), int(side))
        signals = Signals(side=sides, entropy=torch.zeros(1000), context=contexts)
        decided = Scattered.decide(signals, torch.zeros(1000, 0))
        left = (decided.next_side != sides).float().mean()
        assert float(left) == pytest.approx(share, abs=0.01)
        rows = [rule.decide_row(SimpleNamespace(side=side, context=n)) for n in range(1, 1001)]  # type: ignore[arg-type]
        assert [int(one) for one, _ in rows] == decided.next_side.tolist()
        assert [keep for _, keep in rows] == decided.keep.tolist()


def test_one_slow_pass_counts_for_four_medians_at_most() -> None:
    assert typical([1.0, 1.0, 1.0, 100.0]) == pytest.approx(7 / 4)


def test_a_replay_runs_the_passes_of_the_trace() -> None:
    engine = costed()
    seconds = replay(engine, ANSWER.trace.forwards)
    want = sum(
        truth(f.side, Shape.even(1, f.new_tokens, f.context - f.new_tokens))
        for f in ANSWER.trace.forwards
    )
    assert seconds == pytest.approx(want)
    calls = {side: [len(call[0]) for call in engine.runners[side].calls] for side in Side}  # type: ignore[attr-defined]
    assert calls == {SLM: [20, 1, 3, 1], LLM: [22]}
    assert engine.runners[SLM].ids == {}  # type: ignore[attr-defined]


def test_a_replay_cuts_back_and_catches_up_where_the_answer_did() -> None:
    """A rewind to 15 of 20; then a row forked at 30, whose tokens are fed untimed."""
    engine = costed()
    passes = forwards(("slm", 20, 20), ("slm", 2, 17), ("slm", 1, 31))
    assert replay(engine, passes) == pytest.approx(
        sum(truth(SLM, Shape.even(1, n, k)) for n, k in ((20, 0), (2, 15), (1, 30)))
    )


def test_a_trace_of_longer_contexts_is_refused() -> None:
    with pytest.raises(BadRequest, match="context of 300 tokens; the LLM here holds 256"):
        replay(costed(), forwards(("llm", 300, 300)))


def test_what_an_engine_wrote_is_priced_to_the_second() -> None:
    """A real answer of the engine: its own passes, priced after measuring."""
    engine = costed()
    measuring = Measuring(engine, rows=4, context=200, rounds=1)
    measuring.round()
    engine.submit(Request({SLM: (1, 2), LLM: (1, 2, 3)}, make("entropy", tau=0.5), max_tokens=30))
    ends = [e for _ in range(200) for e in engine.step() if isinstance(e, Finished)]
    (end,) = ends
    assert {one.side for one in end.forwards} == set(Side)
    told = price(end.forwards, measuring.costs())
    assert told.seconds == pytest.approx(end.usage.seconds, rel=1e-6)


def test_a_check_measures_between_replays_and_finds_no_error_here() -> None:
    measuring = Measuring(costed(), rows=4, context=200)
    costs, checked = check.measured(measuring, [ANSWER] * 5)
    assert len(checked) == 5
    told = check.verdict(checked)
    assert told.median < 1e-6 and told.floor < 1e-9 and told.holds and told.outside == 0
    again = check.verdict(check.against(costed(), costs, [ANSWER]))
    assert again.measured == pytest.approx(told.measured)
    slow = check.against(costed(lambda side, shape: 1.2 * truth(side, shape)), costs, [ANSWER])
    late = check.verdict(slow)
    assert late.median == pytest.approx(1 - 1 / 1.2) and not late.holds
    with pytest.raises(BadRequest, match="no answer was replayed"):
        check.verdict([])


@pytest.mark.parametrize(("rounds", "times"), [(1, 2), (3, 2), (5, 4), (2, 6)])
def test_replays_of_an_answer_lie_in_different_rounds(rounds: int, times: int) -> None:
    """The clock is slower by half after each round, so no two of them take the same."""
    pace = [1.0]

    class Slowing(Measuring):
        def round(self, tell: Tell = quiet) -> None:
            super().round(tell)
            pace[0] *= 1.5

    engine = costed(lambda side, shape: pace[0] * truth(side, shape))
    measuring = Slowing(engine, rows=2, context=64, rounds=rounds)
    _, checked = check.measured(measuring, [ANSWER] * 7, times)
    for one in checked:
        assert len(one.replays) == min(times, max(2, rounds)) == len(set(one.replays))


def test_the_bars_of_a_check() -> None:
    """Replays 4 % apart allow a median error of 6 %; the 95th percentile stays at 15 %."""
    apart = [check.Checked(1.055, (0.98, 1.02), 0)] * 20
    assert check.verdict(apart).allowed == pytest.approx(0.06)
    assert check.verdict(apart).holds
    eight = [check.Checked(1.055, (0.98, 1.02) * 4, 0)] * 20
    assert check.verdict(eight).allowed == pytest.approx(0.05), "their mean has half of the noise"
    assert not check.verdict(eight).holds
    assert not check.verdict([*apart[:18], *[check.Checked(1.3, (1.0, 1.0), 0)] * 2]).holds


def test_a_path_that_holds_no_passes(tmp_path: Path) -> None:
    from rstitch.errors import BadTrace
    from rstitch.latency.recorded import read

    (tmp_path / "t.jsonl").write_text("")
    with pytest.raises(BadTrace, match="holds no trace"):
        read(tmp_path / "t.jsonl")
