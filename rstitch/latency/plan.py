"""What stitching brings on one machine: by rule, by how many answers are in flight, and what would
change with other hardware. Everything is priced and simulated; no model is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rstitch.errors import BadRequest
from rstitch.latency.costs import PassCosts
from rstitch.latency.pattern import Pattern, alone, of_trace
from rstitch.latency.price import price
from rstitch.latency.recorded import Recorded, by_method
from rstitch.latency.simulate import Outcome, simulate
from rstitch.types import Side

LEVELS = (1, 2, 4, 8, 16, 32)
WORSE = 0.01
"""A rule may be so much less often right than the LLM and still be chosen, by point estimates."""
LARGER = 10.0
ANSWERS, PASSES = 100, 40_000
"""Simulated at each level: so many answers, or fewer where they are long; 3 for each in flight at
least."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One method, an answer at a time."""

    method: str
    tau: float | None
    """Of R-Stitch's rule; None for others."""
    answers: int
    right: float | None
    """Share of the answers; None where nobody graded them."""
    tokens: float
    llm_share: float
    seconds: float
    """Priced, mean of the answers."""
    speed_up: float | None
    """Over the LLM alone on its own answers."""
    outside: int
    """Answers with passes outside the measured grid."""


@dataclass(frozen=True, slots=True)
class Level:
    """So many in flight. Rates are answers per second, latencies seconds."""

    in_flight: int
    llm: float
    stitched: float
    """With the waiting table."""
    eager: float
    p50: float
    p95: float
    llm_p50: float
    llm_p95: float
    two_devices: float
    """One for each model, with the best number of rows that wait."""
    two_wait: int
    """That number."""
    two_llms: float
    """The LLM alone on two devices, half of the answers on each."""
    larger: float
    """Stitched over the LLM alone where the LLM is ten times as dear."""
    outside: float
    """Share of the simulated passes outside the measured grid."""

    @property
    def gain(self) -> float:
        return self.stitched / self.llm


@dataclass(frozen=True, slots=True)
class Plan:
    rules: tuple[Rule, ...]
    chosen: str
    """The method that the levels are about."""
    why: str
    levels: tuple[Level, ...]
    llm_guessed: bool
    """No answer of the LLM alone was there: it is taken to write as many tokens."""

    @property
    def stops(self) -> int | None:
        """The first level from which on stitching is slower than the LLM alone; None: at none."""
        losing = [level.in_flight for level in self.levels if level.gain < 1]
        winning = [level.in_flight for level in self.levels if level.gain >= 1]
        after = [n for n in losing if not winning or n > max(winning)]
        return min(after) if after else None


def plan(
    recorded: Sequence[Recorded],
    costs: PassCosts,
    levels: Sequence[int] = LEVELS,
    tau: float | None = None,
    tell: Any = None,
) -> Plan:
    """tau: the pair's own, for where nothing says which is best. Raises BadRequest where no answer
    is stitched."""
    methods = by_method(recorded)
    rules = _rules(methods, costs)
    chosen, why = choose(rules, tau)
    stitched = [of_trace(one) for one in methods[chosen.method]]
    llm = [one for found in methods.values() for one in found if _is(one, "llm")]
    base = [of_trace(one) for one in llm] or _as_llm(methods[chosen.method])
    found = []
    for at, n in enumerate(sorted(levels), 1):
        found.append(level(stitched, base, n, costs))
        if tell:
            tell("simulating", at, len(levels))
    return Plan(tuple(rules), chosen.method, why, tuple(found), not llm)


def choose(rules: Sequence[Rule], tau: float | None) -> tuple[Rule, str]:
    """The fastest of R-Stitch's rules that is right about as often as the LLM alone; the pair's own
    tau, or the middle one, where nobody graded the answers."""
    stitched = [rule for rule in rules if rule.tau is not None]
    if not stitched:
        raise BadRequest(
            "no answer is stitched, so there is nothing to plan; give a run with method stitched"
        )
    llm = next((rule for rule in rules if rule.method.split(",")[0] == "llm"), None)
    known = llm is not None and llm.right is not None
    if known and all(rule.right is not None for rule in stitched):
        assert llm is not None and llm.right is not None
        good = [rule for rule in stitched if (rule.right or 0.0) >= llm.right - WORSE]
        if good:
            return min(good, key=lambda rule: rule.seconds), (
                f"the fastest that is right as often as the LLM, by {llm.answers} answers (within "
                f"{100 * WORSE:g} point); rstitch calibrate shows it with confidence"
            )
        most = max(stitched, key=lambda rule: (rule.right or 0.0, -rule.seconds))
        return most, "none is right as often as the LLM; this one comes nearest"
    if tau is not None:
        nearest = min(stitched, key=lambda rule: abs((rule.tau or 0.0) - tau))
        return (
            nearest,
            "the pair's own tau, since nobody graded the answers: rstitch calibrate does",
        )
    ranked = sorted(stitched, key=lambda rule: rule.tau or 0.0)
    return ranked[len(ranked) // 2], "the middle one, since nobody graded the answers"


def level(stitched: list[Pattern], llm: list[Pattern], n: int, costs: PassCosts) -> Level:
    """Everything that is said about so many in flight."""
    longest = max(fmean(len(one.parts) for one in found) for found in (stitched, llm))
    answers = max(3 * n, min(ANSWERS, int(PASSES / longest)))

    def run(patterns: list[Pattern], at: int, waiting: str = "table", **rest: Any) -> Outcome:
        return simulate(
            patterns, at, rest.pop("costs", costs), answers=answers, waiting=waiting, **rest
        )

    ours, base = run(stitched, n), run(llm, n)
    dear = costs.times(Side.LLM, LARGER)
    two = {wait: run(stitched, n, f"fixed:{wait}", devices=2) for wait in _waits(n)}
    best = max(two, key=lambda wait: two[wait].answers_per_second)
    halves = [run(llm, half).answers_per_second for half in (n - n // 2, n // 2) if half]
    return Level(
        in_flight=n,
        llm=base.answers_per_second,
        stitched=ours.answers_per_second,
        eager=run(stitched, n, "eager").answers_per_second,
        p50=ours.latency(0.5),
        p95=ours.latency(0.95),
        llm_p50=base.latency(0.5),
        llm_p95=base.latency(0.95),
        two_devices=two[best].answers_per_second,
        two_wait=best,
        two_llms=sum(halves),
        larger=run(stitched, n, costs=dear).answers_per_second
        / run(llm, n, costs=dear).answers_per_second,
        outside=(ours.outside + base.outside) / (ours.passes + base.passes),
    )


def _waits(n: int) -> list[int]:
    return sorted({1, max(1, n // 4), max(1, n // 2)})


def _rules(methods: Mapping[str, Sequence[Recorded]], costs: PassCosts) -> list[Rule]:
    rules = [_rule(method, found, costs) for method, found in methods.items()]
    base = next((r.seconds for r in rules if r.method.split(",")[0] == "llm"), None)
    return [
        Rule(r.method, r.tau, r.answers, r.right, r.tokens, r.llm_share, r.seconds,
             base / r.seconds if base else None, r.outside)
        for r in rules
    ]  # fmt: skip


def _rule(method: str, found: Sequence[Recorded], costs: PassCosts) -> Rule:
    prices = [price(one.trace.forwards, costs, beyond=True) for one in found]
    right = [one.right for one in found if one.right is not None]
    llm = sum(p.keep and p.side is Side.LLM for one in found for p in one.trace.proposals)
    policy = found[0].trace.policy
    return Rule(
        method=method,
        tau=float(policy["tau"]) if policy.get("name") == "entropy" else None,
        answers=len(found),
        right=fmean(right) if len(right) == len(found) else None,
        tokens=fmean(one.tokens for one in found),
        llm_share=llm / max(1, sum(one.tokens for one in found)),
        seconds=fmean(one.seconds for one in prices),
        speed_up=None,
        outside=sum(one.outside > 0 for one in prices),
    )


def _is(one: Recorded, name: str) -> bool:
    return bool(one.trace.policy.get("name") == name)


def _as_llm(found: Sequence[Recorded]) -> list[Pattern]:
    """The LLM alone, if it wrote answers as long as these."""
    return [
        alone(Side.LLM, len(one.trace.prompts[max(one.trace.prompts)]), one.tokens) for one in found
    ]
