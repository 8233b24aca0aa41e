"""What /metrics says: counters made from the engine's events, gauges from its `stats`.

Events are counted in plain numbers as they come, in the event loop's thread, and become Prometheus'
only when somebody asks: a token of the built-in pair takes 70 microseconds to make, and half of one
to count here.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from rstitch.server.refusal import REASONS, Reason
from rstitch.server.tally import FINE, Tally
from rstitch.types import FINISH_REASONS, Event, Failed, Finished, Forward, Side, Token

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

SHADOWED = 100
"""Answers over which the agreement is a mean: it is to show what has changed of late."""
ENDS = (*FINISH_REASONS, "failed")


@dataclass(slots=True)
class _Answer:
    """One that is being written."""

    waited: float
    """Seconds before the engine got it."""
    since: float
    """Clock when it did."""
    last: float | None = None
    """Seconds of its newest kept token, since then."""


class Metrics(Collector):
    """Owns its registry, so that two servers in one process do not share numbers."""

    def __init__(
        self,
        stats: Callable[[], dict[str, Any]],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """stats: the engine's."""
        self._stats, self._clock = stats, clock
        self._answers: dict[str, _Answer] = {}
        self._ttft, self._request, self._queue = Tally(), Tally(), Tally()
        self._inter_token = Tally(FINE)
        self._steps = [Tally(FINE) for _ in Side]
        """By side, like the next two: a list, since an enum's hash is slow."""
        self._tokens, self._handoffs = [0, 0], [0, 0]
        self._discards = self._catchup = self._degraded = 0
        self._ends: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._agreement: deque[float] = deque(maxlen=SHADOWED)
        self._shadowed = 0
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def render(self) -> bytes:
        """In Prometheus' text format (`prometheus_client.CONTENT_TYPE_LATEST`)."""
        return generate_latest(self.registry)

    # -- what happens ---------------------------------------------------------------------------

    def begin(self, answers: Iterable[str], waited: float = 0.0) -> None:
        """A request went to the engine, where its answers have these names (`sample_ids`), after
        so many seconds in the queue. What was not begun is not counted, so that shadow runs are
        not; only its passes are, which others share."""
        self._queue.add(waited)
        now = self._clock()
        for name in answers:
            self._answers[name] = _Answer(waited, now)

    def event(self, event: Event) -> None:
        """Every one of the engine's, in order."""
        answer = self._answers.get(event.request)
        if not isinstance(event, Token):
            self._passes(event.forwards)
            if answer is not None:
                del self._answers[event.request]
                self._end(answer, event)
        elif answer is not None:
            self._token(answer, event)

    def refused(self, reason: Reason) -> None:
        """A request was not let in."""
        self._refused[reason] += 1

    def degraded(self) -> None:
        """An answer was given that the SLM finished alone, since the LLM is lost."""
        self._degraded += 1

    def shadowed(self, agreement: float) -> None:
        """An answer was written again by the LLM alone; 1 if both are the same, 0 if nothing is."""
        self._shadowed += 1
        self._agreement.append(agreement)

    def _token(self, answer: _Answer, event: Token) -> None:
        proposal = event.proposal
        if proposal.next_side is not proposal.side:
            self._handoffs[proposal.next_side] += 1
        if not proposal.keep:
            self._discards += not proposal.taken_back
            return
        self._tokens[proposal.side] += 1
        if answer.last is None:
            self._ttft.add(answer.waited + event.seconds)
        else:
            self._inter_token.add(event.seconds - answer.last)
        answer.last = event.seconds

    def _end(self, answer: _Answer, event: Finished | Failed) -> None:
        self._request.add(answer.waited + self._clock() - answer.since)
        if isinstance(event, Finished):
            self._catchup += event.usage.catchup_tokens
            self._ends[event.reason] += 1
        else:
            self._ends["failed"] += 1

    def _passes(self, forwards: Iterable[Forward]) -> None:
        """Each of the rows that share a pass brings its part of it."""
        for forward in forwards:
            self._steps[forward.side].add(forward.seconds, 1 / forward.rows)

    # -- what is told ---------------------------------------------------------------------------

    def describe(self) -> Iterable[Family]:
        """Nothing: without it a registry would call `collect`, and so the engine, at once."""
        return ()

    def collect(self) -> Iterator[Family]:
        yield from self._histograms()
        yield from self._counters()
        yield from self._gauges()

    def _histograms(self) -> Iterator[Family]:
        for name, told, tally in (
            (
                "ttft",
                "Arrival to first token of an answer, its wait in the queue included",
                self._ttft,
            ),
            ("inter_token", "Between tokens of an answer", self._inter_token),
            ("request", "Arrival to the end of an answer", self._request),
            ("queue", "Wait of a request in the queue", self._queue),
        ):
            buckets = tally.buckets()
            yield HistogramMetricFamily(f"rstitch_{name}_seconds", told, buckets, tally.sum)
        steps = HistogramMetricFamily(
            "rstitch_step_seconds", "A forward pass, counted when its answers end", labels=["side"]
        )
        for side, tally in zip(Side, self._steps, strict=True):
            steps.add_metric([side.label], tally.buckets(), tally.sum)
        yield steps

    def _counters(self) -> Iterator[Family]:
        for name, told, label, counts in (
            ("tokens", "Tokens kept in answers", "side", _by_side(self._tokens)),
            ("handoffs", "Times that control passed", "to", _by_side(self._handoffs)),
            ("answers", "Answers that ended", "reason", {end: self._ends[end] for end in ENDS}),
            ("refused", "Requests that were not let in", "reason",
             {reason: self._refused[reason] for reason in REASONS}),
        ):  # fmt: skip
            family = CounterMetricFamily(f"rstitch_{name}", told, labels=[label])
            for value, count in counts.items():
                family.add_metric([value], count)
            yield family
        for name, told, count in (
            ("discards", "Proposed tokens that were dropped at a hand-off", self._discards),
            ("catchup_tokens", "Tokens of answers that a side read after the other", self._catchup),
            ("degraded", "Answers that the SLM finished alone, the LLM being lost", self._degraded),
            ("shadow_answers", "Answers that the LLM alone wrote again", self._shadowed),
        ):
            yield CounterMetricFamily(f"rstitch_{name}", told, count)

    def _gauges(self) -> Iterator[Family]:
        stats = self._stats()
        pages = GaugeMetricFamily("rstitch_kv_pages", "Pages of KV", labels=["side", "state"])
        for side, kv in stats["kv"].items():
            for state, count in kv["pages"].items():
                pages.add_metric([side, state], count)
        yield pages
        waiting = stats["waiting"][Side.LLM.label]
        yield GaugeMetricFamily(
            "rstitch_llm_waiting_rows", "Rows whose next token is the LLM's", waiting
        )
        agreement = GaugeMetricFamily(
            "rstitch_shadow_agreement",
            f"Mean agreement with the LLM alone of the last {SHADOWED} answers written again",
        )
        if self._agreement:  # before the first there is none, not even a zero
            agreement.add_metric([], sum(self._agreement) / len(self._agreement))
        yield agreement


def _by_side(counts: list[int]) -> dict[str, int]:
    return {side.label: counts[side] for side in Side}
