"""Metrics: their names, and that they add up with what the engine says of its answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from rstitch.engine.request import sample_ids
from rstitch.policy import make
from rstitch.server.metrics import SHADOWED, Metrics
from rstitch.server.tally import FINE, MILLISECONDS, Tally
from rstitch.types import Event, Failed, Finished, Forward, Proposal, Side, Token, Usage
from tests.engine.asking import BOTH, ask
from tests.fakes import EOS, says, scripted, sure, unsure
from tests.models import drain

SLM, LLM = Side.SLM, Side.LLM

NAMES = {
    "rstitch_ttft_seconds": "histogram",
    "rstitch_inter_token_seconds": "histogram",
    "rstitch_request_seconds": "histogram",
    "rstitch_queue_seconds": "histogram",
    "rstitch_step_seconds": "histogram",
    "rstitch_tokens": "counter",
    "rstitch_discards": "counter",
    "rstitch_handoffs": "counter",
    "rstitch_catchup_tokens": "counter",
    "rstitch_answers": "counter",
    "rstitch_refused": "counter",
    "rstitch_degraded": "counter",
    "rstitch_shadow_answers": "counter",
    "rstitch_shadow_agreement": "gauge",
    "rstitch_kv_pages": "gauge",
    "rstitch_llm_waiting_rows": "gauge",
}


def nothing() -> dict[str, Any]:
    return {"kv": {}, "waiting": {"slm": 0, "llm": 0}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def values(metrics: Metrics) -> dict[str, float]:
    """Every sample, such as `rstitch_tokens_total{side="slm"}`."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for one in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in one.labels.items())
            found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return found


def token(
    side: Side, seconds: float, keep: bool = True, to: Side | None = None, **more: Any
) -> Token:
    return Token("r", Proposal(0, 5, side, keep, side if to is None else to, 0.1, -0.1, {}, **more),
                 "", seconds)  # fmt: skip


def finished(reason: Any = "stop", forwards: Iterable[Forward] = (), catchup: int = 0) -> Finished:
    return Finished("r", reason, Usage(1, 1, 1, 1, 1, catchup, 1.0), "", tuple(forwards))


def counted(*events: Event, waited: float = 0.0, begin: bool = True) -> dict[str, float]:
    metrics = Metrics(nothing, Clock())
    if begin:
        metrics.begin(["r"], waited)
    for event in events:
        metrics.event(event)
    return values(metrics)


# -- names ----------------------------------------------------------------------------------------


def test_the_names_are_these_and_each_is_explained() -> None:
    families = list(text_string_to_metric_families(Metrics(nothing).render().decode()))
    assert {family.name: family.type for family in families} == NAMES
    assert all(family.documentation for family in families)


def test_counters_start_at_zero_with_every_label() -> None:
    start = counted(begin=False)
    for name in (
        "rstitch_tokens_total{side=slm}",
        "rstitch_tokens_total{side=llm}",
        "rstitch_handoffs_total{to=slm}",
        "rstitch_handoffs_total{to=llm}",
        "rstitch_discards_total",
        "rstitch_catchup_tokens_total",
        "rstitch_refused_total{reason=queue_full}",
        "rstitch_refused_total{reason=key}",
        "rstitch_answers_total{reason=cancelled}",
        "rstitch_answers_total{reason=failed}",
        "rstitch_degraded_total",
    ):
        assert start[name] == 0
    assert not any("created" in name for name in start)


def test_two_servers_share_no_numbers() -> None:
    one, other = Metrics(nothing), Metrics(nothing)
    one.refused("quota")
    assert values(one)["rstitch_refused_total{reason=quota}"] == 1
    assert values(other)["rstitch_refused_total{reason=quota}"] == 0


def test_nothing_is_asked_of_the_engine_before_somebody_looks() -> None:
    asked = []

    def stats() -> dict[str, Any]:
        asked.append(1)
        return nothing()

    metrics = Metrics(stats)
    assert asked == []
    metrics.render()
    assert asked == [1]


# -- worked by hand -------------------------------------------------------------------------------


def test_an_answer_of_four_tokens_by_hand() -> None:
    got = counted(
        token(SLM, 0.25),
        token(SLM, 0.5, keep=False, to=LLM),
        token(LLM, 1.0),
        token(LLM, 1.5, to=SLM),
        token(SLM, 1.5),
        finished(catchup=3),
        waited=2.0,
    )
    assert got["rstitch_tokens_total{side=slm}"] == 2
    assert got["rstitch_tokens_total{side=llm}"] == 2
    assert got["rstitch_discards_total"] == 1
    assert got["rstitch_handoffs_total{to=llm}"] == got["rstitch_handoffs_total{to=slm}"] == 1
    assert got["rstitch_catchup_tokens_total"] == 3
    assert got["rstitch_answers_total{reason=stop}"] == 1
    assert (got["rstitch_ttft_seconds_count"], got["rstitch_ttft_seconds_sum"]) == (1, 2.25)
    assert got["rstitch_inter_token_seconds_count"] == 3
    assert got["rstitch_inter_token_seconds_sum"] == 1.25
    assert got["rstitch_inter_token_seconds_bucket{le=0.0001}"] == 1
    assert got["rstitch_inter_token_seconds_bucket{le=0.5}"] == 2
    assert got["rstitch_inter_token_seconds_bucket{le=+Inf}"] == 3
    assert got["rstitch_queue_seconds_sum"] == 2.0


def test_a_request_lasts_from_its_arrival_to_its_end() -> None:
    clock = Clock()
    metrics = Metrics(nothing, clock)
    metrics.begin(["r"], waited=0.5)
    clock.now += 3
    metrics.event(Failed("r", RuntimeError()))
    got = values(metrics)
    assert (got["rstitch_request_seconds_sum"], got["rstitch_request_seconds_count"]) == (3.5, 1)
    assert got["rstitch_answers_total{reason=failed}"] == 1


def test_a_pass_that_rows_share_is_one_pass() -> None:
    forward = Forward(LLM, 2, 1, 10, 2, 0.02)
    metrics = Metrics(nothing)
    metrics.begin(["a", "b"])
    for name in ("a", "b"):
        usage = Usage(1, 1, 1, 0, 0, 0, 1.0)
        metrics.event(Finished(name, "stop", usage, "", (forward,)))
    got = values(metrics)
    assert got["rstitch_step_seconds_count{side=llm}"] == 1
    assert got["rstitch_step_seconds_sum{side=llm}"] == pytest.approx(0.02)
    assert got["rstitch_step_seconds_count{side=slm}"] == 0
    assert got["rstitch_queue_seconds_count"] == 1


def test_what_was_not_begun_is_not_counted_but_for_its_passes() -> None:
    got = counted(token(SLM, 1.0), finished(forwards=[Forward(SLM, 1, 1, 1, 1, 0.1)]), begin=False)
    assert got["rstitch_tokens_total{side=slm}"] == 0
    assert got["rstitch_answers_total{reason=stop}"] == 0
    assert got["rstitch_step_seconds_count{side=slm}"] == 1


def test_what_was_taken_back_is_no_discard() -> None:
    got = counted(token(SLM, 1.0, keep=False, to=LLM, taken_back=True))
    assert got["rstitch_discards_total"] == 0
    assert got["rstitch_tokens_total{side=slm}"] == 0


def test_agreement_is_of_the_last_answers_and_absent_before_the_first() -> None:
    metrics = Metrics(nothing)
    assert "rstitch_shadow_agreement" not in values(metrics)
    for _ in range(SHADOWED):
        metrics.shadowed(0.0)
    for _ in range(SHADOWED // 4):
        metrics.shadowed(1.0)
    got = values(metrics)
    assert got["rstitch_shadow_agreement"] == 0.25
    assert got["rstitch_shadow_answers_total"] == SHADOWED + SHADOWED // 4


def test_degraded_answers_and_gauges() -> None:
    stats = {
        "kv": {"slm": {"pages": {"used": 3, "free": 5}}, "llm": {"pages": {"used": 1}}},
        "waiting": {"slm": 9, "llm": 4},
    }
    metrics = Metrics(lambda: stats)
    metrics.degraded()
    got = values(metrics)
    assert got["rstitch_degraded_total"] == 1
    assert got["rstitch_kv_pages{side=slm,state=used}"] == 3
    assert got["rstitch_kv_pages{side=slm,state=free}"] == 5
    assert got["rstitch_kv_pages{side=llm,state=used}"] == 1
    assert got["rstitch_llm_waiting_rows"] == 4


# -- with an engine -------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["both", "rewind", "slm"])
def test_counters_add_up_with_the_usage_of_all_answers(policy: str) -> None:
    """Sides, discards, hand-offs and catch-up are counted here from events and there by the
    engine; one answer is cancelled."""
    rule = {"both": BOTH, "slm": make("slm")}.get(policy) or make("rewind", tau=0.5, epsilon=0.5)
    slm = says(unsure(9), sure(3), unsure(4), sure(5), unsure(6), unsure(7), then=sure(EOS))
    engine = scripted(slm, says(sure(9), sure(8), then=sure(4)), max_rows=2)
    metrics = Metrics(engine.stats)
    usages, events = list[Usage](), list[Event]()
    for n in (1, 2, 1):
        name = engine.submit(ask(rule, n=n, max_tokens=8))
        metrics.begin(sample_ids(name, n), waited=0.1)
    events += engine.step()
    engine.cancel(name)
    events += drain(engine)
    for event in events:
        metrics.event(event)
        if isinstance(event, Finished):
            usages.append(event.usage)
    assert bool(sum(one.rewound_tokens for one in usages)) is (policy == "rewind")
    got = values(metrics)
    assert len(usages) == 4 == sum(got[f"rstitch_answers_total{{reason={r}}}"] for r in
                                   ("stop", "length", "cancelled"))  # fmt: skip
    assert got["rstitch_tokens_total{side=slm}"] == sum(one.slm_tokens for one in usages)
    assert got["rstitch_tokens_total{side=llm}"] == sum(one.llm_tokens for one in usages)
    assert got["rstitch_discards_total"] == sum(one.discards for one in usages)
    assert got["rstitch_catchup_tokens_total"] == sum(one.catchup_tokens for one in usages)
    handoffs = sum(got[f"rstitch_handoffs_total{{to={side.label}}}"] for side in Side)
    assert handoffs == sum(one.handoffs for one in usages)
    passes = sum(got[f"rstitch_step_seconds_count{{side={side.label}}}"] for side in Side)
    calls = sum(len(runner.calls) for runner in engine.runners.values())
    assert passes == pytest.approx(calls)
    assert got["rstitch_kv_pages{side=slm,state=used}"] == 0
    assert not metrics._answers, "an answer that has ended is forgotten"


# -- histograms -----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1000)), st.sampled_from([FINE, MILLISECONDS]))
def test_a_tally_counts_what_is_at_most_each_bound(seconds: list[float], bounds: Any) -> None:
    tally = Tally(bounds)
    for one in seconds:
        tally.add(one)
    for bound, count in tally.buckets():
        assert count == sum(one <= float(bound) for one in seconds)
    assert tally.buckets()[-1] == ("+Inf", len(seconds)) == ("+Inf", tally.count)
    assert math.isclose(tally.sum, sum(seconds), abs_tol=1e-9)


def test_bounds_rise() -> None:
    for bounds in (FINE, MILLISECONDS):
        assert list(bounds) == sorted(set(bounds))
