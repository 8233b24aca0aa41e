"""`explain` reproduces honest traces of a real pair, and finds where a dishonest one departs.

A peer shipped for months with a coin flip in the place of its router; each way of being dishonest
here must be found at its first wrong step.
"""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstitch import trace as traces
from rstitch.errors import BadTrace
from rstitch.explain import check
from rstitch.policy import REGISTRY, make
from rstitch.trace import Trace
from rstitch.types import Sampling, Side
from tests.pair import QUESTION, TAU, stitch
from tests.router.file import router_file

PARAMETERS: dict[str, dict[str, Any]] = {
    "entropy": {"tau": TAU},
    "confidence": {"threshold": 0.1},
    "margin": {"bound": 0.05},
    "window": {"tau": TAU, "window": 4},
    "hysteresis": {"tau_out": TAU, "tau_back": TAU - 0.1, "min_slm": 1, "min_llm": 2},
    "phase": {"tau_think": TAU, "tau_answer": TAU - 0.1},
    "rewind": {"tau": TAU, "epsilon": 0.001},
    "steered": {
        "tau": TAU,
        "max_llm_share": 0.4,
        "max_llm_tokens": 9,
        "deadline": 3600.0,
        "gain": 0.1,
        "shortest": 5,
        "after": 2,
        "longest": 50,
        "slm_step": 0.1,
        "llm_step": 0.4,
        "llm_token": 0.01,
    },
    "slm": {},
    "llm": {},
    "random": {"p": 0.3, "q": 0.4},
    "turns": {"at": (3, 5), "period": 6},
    "router": {"file": router_file(), "tau": TAU},
}
TEMPERATURES = (0.0, 1.0)
CASES = [(name, t) for name in REGISTRY for t in TEMPERATURES]


@lru_cache
def recorded(name: str, temperature: float = 0.0) -> Trace:
    policy = make(name, **PARAMETERS[name])
    sampling = Sampling(temperature, seed=11)
    return stitch().generate(QUESTION, policy=policy, sampling=sampling, max_tokens=40).trace


def test_penalties_and_a_bias_leave_a_trace_that_holds() -> None:
    """A greedy token that is not the likeliest, beside the likeliest, is as it should be there, and
    would be a contradiction without them."""
    plain = recorded("entropy")
    often, times = Counter(p.token for p in plain.proposals).most_common(1)[0]
    shifts = {"presence_penalty": 2.0, "frequency_penalty": 1.0, "logit_bias": ((often, -100.0),)}
    trace = (
        stitch()
        .generate(
            QUESTION, tau=TAU, sampling=Sampling(seed=11, **shifts), max_tokens=40, top_logprobs=2
        )
        .trace
    )
    assert times > 1 and often not in [p.token for p in trace.proposals]
    assert any(p.token != p.top_logprobs[0][0] for p in trace.proposals if p.keep)
    assert check(trace) is None
    trace.sampling = Sampling(seed=11)
    found = check(trace)
    assert found is not None and "greedy is the likeliest token's" in found.what


def copied(name: str = "entropy", temperature: float = 0.0) -> Trace:
    return copy.deepcopy(recorded(name, temperature))


def change(trace: Trace, index: int, **changes: Any) -> None:
    trace.proposals[index] = replace(trace.proposals[index], **changes)


def found_at(trace: Trace) -> int:
    difference = check(trace)
    assert difference is not None, "the change went unnoticed"
    return difference.index


# -- honest ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_a_real_trace_is_reproduced(name: str, temperature: float) -> None:
    trace = recorded(name, temperature)
    assert check(trace) is None
    kept = sum(proposal.keep for proposal in trace.proposals)
    assert kept == 40, f"{name} stopped early"
    if len(make(name, **PARAMETERS[name]).sides()) > 1:
        assert {p.side for p in trace.proposals} == set(Side), "no hand-off: it proves little"
        assert kept < len(trace.proposals), "no discard: it proves little"


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_from_a_file_too(tmp_path: Path, name: str, temperature: float) -> None:
    trace = recorded(name, temperature)
    with (tmp_path / "t").open("w", encoding="utf-8") as file:
        traces.write([trace], file)
    (read,) = traces.read(tmp_path / "t")
    assert read.proposals == trace.proposals
    assert check(read) is None


def test_only_what_the_policy_reads_is_recorded() -> None:
    for name, reads in (("entropy", set()), ("confidence", {"max_prob"}), ("random", {"coin"})):
        assert {key for p in recorded(name).proposals for key in p.signals} == reads


# -- dishonest ------------------------------------------------------------------------------------


def test_a_coin_flip_in_the_place_of_the_router() -> None:
    """The whole answer decided by a coin, consistent in itself, under the name of the rule."""
    trace = copied("random")
    trace.policy = {"name": "entropy", "tau": TAU}
    proposals = trace.proposals
    lies = [p.next_side is not _asked_next(p.side, p.entropy, TAU) for p in proposals]
    assert found_at(trace) == lies.index(True)


def _asked_next(side: Side, entropy: float, tau: float) -> Side:
    unsure = np.float32(entropy) > np.float32(tau)
    return Side.LLM if unsure else Side.SLM


def test_decisions_replaced_by_coin_flips() -> None:
    trace, coin = copied(), random.Random(0)
    for i, proposal in enumerate(trace.proposals):
        keep, next_side = coin.choice([(True, proposal.side), (False, proposal.side.other)])
        change(trace, i, keep=keep, next_side=next_side)
    both = zip(recorded("entropy").proposals, trace.proposals, strict=True)
    wrong = [(a.keep, a.next_side) != (b.keep, b.next_side) for a, b in both]
    assert found_at(trace) == wrong.index(True)


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_one_changed_keep(name: str, temperature: float) -> None:
    for index in (0, 7, -1):
        trace = copied(name, temperature)
        change(trace, index, keep=not trace.proposals[index].keep)
        assert found_at(trace) == index % len(trace.proposals)


@pytest.mark.parametrize(("name", "temperature"), CASES)
def test_one_changed_next_side(name: str, temperature: float) -> None:
    for index in (0, 7, -1):
        trace = copied(name, temperature)
        change(trace, index, next_side=trace.proposals[index].next_side.other)
        assert found_at(trace) == index % len(trace.proposals)


def test_one_changed_side() -> None:
    trace = copied()
    change(trace, 9, side=trace.proposals[9].side.other)
    assert found_at(trace) == 9


@pytest.mark.parametrize("by", [-1, 1])
def test_one_shifted_position(by: int) -> None:
    trace = copied()
    change(trace, 5, position=trace.proposals[5].position + by)
    assert found_at(trace) == 5


def test_a_dropped_proposal() -> None:
    """One that was kept leaves a gap in the positions, a discarded one another side's turn."""
    for kept in (True, False):
        trace = copied()
        index = next(i for i, p in enumerate(trace.proposals) if i > 3 and p.keep is kept)
        del trace.proposals[index], trace.texts[index]
        assert found_at(trace) == index


@pytest.mark.parametrize("tau", [0.0, 0.2, TAU - 0.05, TAU + 0.05, 0.9, 1.0, -1.0])
def test_another_tau(tau: float) -> None:
    """Found at the first entropy between the two."""
    trace = copied()
    trace.policy = {"name": "entropy", "tau": tau}
    if tau < 0:
        assert found_at(trace) == 0  # the LLM would have begun
        return
    low, high = sorted((np.float32(tau), np.float32(TAU)))
    between = [low < np.float32(p.entropy) <= high for p in trace.proposals]
    assert found_at(trace) == between.index(True)


@pytest.mark.parametrize("index", [0, 3, 12])
def test_one_entropy_edited_across_tau(index: int) -> None:
    """By the smallest step that crosses: the neighbouring float32 beyond tau, or tau itself."""
    tau = np.float32(TAU)
    trace = copied()
    above = trace.proposals[index].entropy > tau
    crossed = tau if above else np.nextafter(tau, np.float32(1))
    change(trace, index, entropy=float(crossed))
    assert found_at(trace) == index


def test_what_was_recorded_and_what_is_due_are_both_said() -> None:
    trace = copied()
    index = next(i for i, p in enumerate(trace.proposals) if not p.keep)
    change(trace, index, keep=True)
    difference = check(trace)
    assert difference is not None
    assert difference.what == (f"recorded: keep, next LLM; {trace.policy} says: discard, next LLM")


# -- nothing to re-run ----------------------------------------------------------------------------


def test_a_signal_that_was_not_recorded_is_named() -> None:
    trace = copied("random")
    change(trace, 4, signals={})
    with pytest.raises(BadTrace, match="r[0-9]+, decision 4: the signal 'coin'"):
        check(trace)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"name": "oracle"}, "unknown policy 'oracle'"),
        ({"name": "entropy"}, "needs a value for 'tau'"),
        ({"name": "entropy", "tau": "0.5"}, "tau is '0.5'"),
        ({"name": "entropy", "tau": 0.5, "window": 3}, "no parameter 'window'"),
        ({"tau": 0.5}, "missing 1 required positional argument: 'name'"),
        ({}, "missing 1 required positional argument: 'name'"),
    ],
)
def test_a_policy_that_cannot_be_made_is_refused(policy: dict[str, Any], message: str) -> None:
    trace = copied()
    trace.policy = policy
    with pytest.raises(BadTrace, match="its policy cannot be run again") as error:
        check(trace)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_interrupted_answer_is_checked_as_far_as_it_goes() -> None:
    trace = copied()
    del trace.proposals[11:], trace.texts[11:]
    trace.end = {}
    assert check(trace) is None
    change(trace, 10, keep=not trace.proposals[10].keep)
    assert found_at(trace) == 10


# -- what is taken back, and the newer signals ----------------------------------------------------


def rewinding() -> Trace:
    """A copy of an answer in which the LLM took something back."""
    trace = copied("rewind")
    assert any(p.back for p in trace.proposals) and any(p.span for p in trace.proposals)
    return trace


def verdict(trace: Trace) -> int:
    """Index of the first proposal that took something back."""
    return next(i for i, p in enumerate(trace.proposals) if p.back)


def test_a_score_moved_across_epsilon() -> None:
    """Both ways: the token that was taken back made likely, and one that stayed made unlikely."""
    trace = rewinding()
    index = verdict(trace)
    span = trace.proposals[index].span
    first = len(span) - trace.proposals[index].back
    change(trace, index, span=(*span[:first], -0.5, *span[first + 1 :]))
    assert found_at(trace) == index
    trace = rewinding()
    index = next(i for i, p in enumerate(trace.proposals) if p.span and not p.back)
    change(trace, index, span=(-30.0, *trace.proposals[index].span[1:]))
    assert found_at(trace) == index


@pytest.mark.parametrize("by", [-1, 1])
def test_another_number_taken_back(by: int) -> None:
    trace = rewinding()
    index = verdict(trace)
    change(trace, index, back=trace.proposals[index].back + by)
    assert found_at(trace) == index


def test_a_score_left_out() -> None:
    trace = rewinding()
    index = verdict(trace)
    change(trace, index, span=trace.proposals[index].span[:-1])
    difference = check(trace)
    assert difference is not None and difference.index == index
    assert "due were" in difference.what


def test_a_mark_that_no_verdict_made_and_a_verdict_without_its_mark() -> None:
    trace = rewinding()
    gone = next(i for i, p in enumerate(trace.proposals) if p.taken_back)
    change(trace, gone, keep=True, taken_back=False)
    assert found_at(trace) == gone
    trace = rewinding()
    stays = next(i for i, p in enumerate(trace.proposals) if p.keep and p.side is Side.SLM)
    change(trace, stays, keep=False, taken_back=True)
    assert found_at(trace) == stays
    trace = rewinding()
    last = max(i for i, p in enumerate(trace.proposals) if p.keep)
    change(trace, last, keep=False, taken_back=True)
    assert found_at(trace) == last


def test_another_epsilon() -> None:
    trace = rewinding()
    trace.policy = {**trace.policy, "epsilon": 0.0}
    assert found_at(trace) == verdict(trace)


@pytest.mark.parametrize(
    ("name", "signal", "moved"),
    [("margin", "margin", lambda m: 0.0 if m >= 0.05 else 1.0), ("phase", "phase", None)],
)
def test_one_signal_edited(name: str, signal: str, moved: Any) -> None:
    """A margin across the bound; a phase flipped where the two taus disagree about the entropy."""
    trace = copied(name)
    index = next(i for i, p in enumerate(trace.proposals) if moved or TAU - 0.1 < p.entropy <= TAU)
    value = trace.proposals[index].signals[signal]
    change(trace, index, signals={signal: moved(value) if moved else 1.0 - value})
    assert found_at(trace) == index


def test_one_entropy_edited_in_a_window_shows_when_it_counts() -> None:
    """The mean of the last four: an entropy of 0 in the place of a high one, within four."""
    trace = copied("window")
    index = next(i for i, p in enumerate(trace.proposals) if not p.keep)
    change(trace, index, entropy=0.0)
    assert index <= found_at(trace) <= index + 8


def test_another_stay() -> None:
    trace = copied("hysteresis")
    trace.policy = {**trace.policy, "min_llm": 3}
    assert trace.proposals[found_at(trace)].side is Side.LLM
