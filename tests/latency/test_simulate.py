"""The simulator against the engine, the waiting table's chain, and a published Markov chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rstitch.costs import LinearCosts, best_threshold, save_profile, throughput
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.latency.costs import Host
from rstitch.latency.pattern import Part, Pattern, alone, drawn, of_trace
from rstitch.latency.recorded import Recorded
from rstitch.latency.simulate import Constant, simulate
from rstitch.policy import make
from rstitch.trace import Trace
from rstitch.types import Finished, Sampling, Side
from tests.hashed import hashed
from tests.latency.chain import chain

SLM, LLM = Side.SLM, Side.LLM
HASHED = Constant(LinearCosts((1.0, 5.0), (0.01, 0.05)))
"""What `tests.hashed` takes."""
NO_TIE = 2.03
"""LLM steps: after exactly two of them the last bit of the clock would decide."""


# -- the engine -----------------------------------------------------------------------------------


def asked(number: int) -> Request:
    digits = 2 + number % 14, 2 + number // 14
    return Request({SLM: (2, *digits), LLM: (4, *digits)}, make("entropy", tau=0.5), max_tokens=24)


def loop(
    n: int, waiting: str, answers: int, profile: Path
) -> tuple[list[str], dict[str, Finished], list[float]]:
    """A closed loop on an engine: names in the order of asking, ends, and when each ended."""
    save_profile(profile, HASHED.known)
    engine = hashed(max_rows=n, waiting=waiting, profile=str(profile), max_wait=NO_TIE)
    names = [engine.submit(asked(number)) for number in range(n)]
    ends: dict[str, Finished] = {}
    times: list[float] = []
    while len(times) < answers:
        for event in engine.step():
            if isinstance(event, Finished):
                ends[event.request] = event
                times.append(engine.clock())
                names.append(engine.submit(asked(len(names))))
    return names, ends, times


def _pattern(end: Finished) -> Pattern:
    trace = Trace(end.request, {"name": "entropy"}, Sampling(), {SLM: (1,), LLM: (1,)})
    trace.forwards = list(end.forwards)
    trace.end = {"usage": {"tokens": end.usage.tokens}}
    return of_trace(Recorded("entropy", trace))


@pytest.mark.parametrize("waiting", ["eager", "fixed:2", "fixed:3", "table"])
def test_the_simulator_moves_the_clock_as_the_engine_does(waiting: str, tmp_path: Path) -> None:
    """The same answers in the same loop end at the same times. What each of them asks is taken from
    a loop of one at a time: it does not depend on what else is in flight."""
    n, answers = 4, 40
    names, ends, _ = loop(1, "eager", answers + n, tmp_path / "p.json")
    patterns = [_pattern(ends[name]) for name in names if name in ends]
    _, _, times = loop(n, waiting, answers, tmp_path / "p.json")
    found = simulate(patterns, n, HASHED, answers=answers - n, waiting=waiting, max_wait=NO_TIE)
    assert {part.side for pattern in patterns for part in pattern.parts} == set(Side)
    assert found.seconds == pytest.approx(times[-1] - times[n - 1], rel=1e-9)


def test_one_at_a_time_by_hand() -> None:
    """A prefill of 4 and two SLM steps, a catch-up of the LLM, each a second or five: 3 + 5, and a
    tenth of a second between passes."""
    parts = (Part(SLM, 4, 0), Part(SLM, 1, 4), Part(SLM, 1, 5), Part(LLM, 6, 0))
    costs = Constant(LinearCosts((1.0, 5.0), (0.0, 0.0)), Host(0.1, 0.0))
    found = simulate([Pattern(parts, 3)], 1, costs, answers=10)
    assert found.latencies == pytest.approx([8.4] * 10)
    assert found.answers_per_second == pytest.approx(1 / 8.4)
    assert found.tokens_per_second == pytest.approx(3 / 8.4)
    assert found.busy == pytest.approx([33.0, 55.0]), "an answer before the ten counts as busy too"


def test_the_llm_alone_shares_its_steps() -> None:
    """Ten tokens each, all in step: a batch takes 10 steps of 5 + 0.05 n."""
    for n in (1, 4, 16):
        found = simulate([alone(LLM, 20, 10)], n, HASHED, answers=5 * n)
        assert found.tokens_per_second == pytest.approx(n / (5 + 0.05 * n)), n


# -- the waiting table's own chain ----------------------------------------------------------------


@pytest.mark.parametrize(("p", "q", "ratio"), [(0.10, 0.4, 10.0), (0.04, 0.3, 20.0)])
def test_drawn_patterns_reach_the_predicted_throughput(p: float, q: float, ratio: float) -> None:
    """Eight rows, costs and rates known: within 8 % of the chain that the table solves (rates are
    learnt from 500 coins)."""
    costs = LinearCosts((1.0, ratio), (0.01, 0.01 * ratio))
    patterns = [drawn(p, q, 1500, seed) for seed in range(8)]
    best = best_threshold(8, p, q, costs.seconds)
    for waiting, threshold in (("eager", 1), (f"fixed:{best}", best), ("table", best)):
        found = simulate(patterns, 8, Constant(costs), answers=8, waiting=waiting, max_wait=1e9)
        want = throughput(8, threshold, p, q, costs.seconds)
        assert found.tokens_per_second == pytest.approx(want, rel=0.08), waiting


def test_a_drawn_pattern_has_the_rates_asked_for() -> None:
    """4,000 tokens: within five standard errors (odds 6e-7). Its passes join on without a gap."""
    one = drawn(0.2, 0.5, 4000, seed=3)
    slm = [part for part in one.parts if part.side is SLM]
    turns = list(zip(one.parts, one.parts[1:], strict=False))
    leaves = sum(a.side is SLM and b.side is LLM for a, b in turns)
    error = (0.2 * 0.8 / len(slm)) ** 0.5
    assert leaves / len(slm) == pytest.approx(0.2, abs=5 * error)
    assert one.tokens == 4000 and drawn(0.2, 0.5, 4000, seed=3) == one
    for side in Side:
        ends = 0
        for part in one.parts:
            if part.side is side:
                assert part.cached in (ends, ends - 1), part  # a distribution read before: one anew
                ends = part.cached + part.new


# -- TokenRouter's chain --------------------------------------------------------------------------

PRINTED = {
    (2, 1): 99.0, (2, 2): 110.3,
    (3, 1): 142.3, (3, 2): 158.1, (3, 3): 151.9,
    (4, 1): 187.2, (4, 2): 195.4, (4, 3): 207.9, (4, 4): 190.7,
}  # fmt: skip
"""Tokens per second by (N, B_LLM): arXiv 2610.12242. R2R: p 0.35, steps of 6.0 and 27.9 ms."""
R2R = Constant(LinearCosts((6.0e-3, 27.9e-3), (0.0, 0.0)))


@pytest.mark.parametrize(("n", "b"), PRINTED)
def test_the_published_chain(n: int, b: int) -> None:
    """All nine theory values to 0.1 (207.9 as 208.0, as by others who computed it again)."""
    assert chain(n, b, p=0.35, q=1.0, ticks=(60, 279), tick=1e-4) == pytest.approx(
        PRINTED[n, b], abs=0.11
    )


@pytest.mark.parametrize(("n", "b"), PRINTED)
def test_two_devices_do_what_the_published_chain_says(n: int, b: int) -> None:
    """30,000 tokens drawn: the rate is within 2 % (the share of discards alone varies by 0.3 %)."""
    patterns = [drawn(0.35, 1.0, 1500, seed) for seed in range(20)]
    found = simulate(patterns, n, R2R, answers=20, waiting=f"fixed:{b}", devices=2)
    assert found.tokens_per_second == pytest.approx(PRINTED[n, b], rel=0.02)


def test_one_answer_on_two_devices_in_closed_form() -> None:
    """1 / (L0 + p L1) tokens a second, of those that the SLM is asked for: 63.43."""
    patterns = [drawn(0.35, 1.0, 20_000, seed) for seed in range(3)]
    found = simulate(patterns, 1, R2R, answers=3, waiting="eager", devices=2)
    assert found.tokens_per_second == pytest.approx(1 / (6.0e-3 + 0.35 * 27.9e-3), rel=0.01)
    assert chain(1, 1, 0.35, 1.0, (60, 279), 1e-4) == pytest.approx(63.43, abs=0.01)


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [(0, {}, "0 in flight"), (2, {"answers": 0}, "0 answers"), (2, {"devices": 3}, "devices is 3")]
    + [(2, {"devices": 2}, "waiting table is of one device"), (2, {"waiting": "x"}, "waiting is")],
)
def test_what_cannot_be_simulated(n: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        simulate([alone(SLM, 1, 2)], n, R2R, **options)


def test_pinned_answers_alone_on_two_devices_do_not_wait_for_ever() -> None:
    found = simulate([alone(LLM, 1, 3), alone(SLM, 1, 3)], 2, R2R, answers=6, devices=2,
                     waiting="fixed:2")  # fmt: skip
    assert len(found.latencies) >= 5
