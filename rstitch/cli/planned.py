"""A plan as text: rules, concurrency, other hardware; and as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rstitch.cli.tabled import aligned

if TYPE_CHECKING:
    from rstitch.latency.plan import Level, Plan, Rule
    from rstitch.latency.replicas import Fleet


def lines(plan: Plan, fleets: list[Fleet]) -> list[str]:
    head = ["one at a time", "right %", "tokens", "LLM %", "s/answer", "speed-up"]
    told = aligned([head, *map(_rule, plan.rules)])
    told += ["", f"chosen: {plan.chosen} ({plan.why})", ""]
    head = [
        f"{plan.chosen}, in flight", "answers/s", "x LLM", "eager x", "p50 s", "p95 s", "LLM p50",
        "LLM p95",
    ]  # fmt: skip
    told += aligned([head, *map(_level, plan.levels)])
    told += ["", _stops(plan), ""]
    head = [
        "what if, in flight", "two devices", "x one", "x two LLMs", "LLM waits for", "10x LLM: x",
    ]  # fmt: skip
    told += aligned([head, *map(_other, plan.levels)])
    told += ["", *_fleet(fleets), "", *_notes(plan)]
    return told


def as_json(plan: Plan, fleets: list[Fleet]) -> dict[str, Any]:
    levels = [{**asdict(level), "gain": level.gain} for level in plan.levels]
    return {
        **asdict(plan), "levels": levels, "stops": plan.stops,
        "replicas": [asdict(one) for one in fleets],
    }  # fmt: skip


def _rule(rule: Rule) -> list[str]:
    return [
        rule.method + ("*" if rule.outside else ""),
        "" if rule.right is None else f"{100 * rule.right:.1f}",
        f"{rule.tokens:.0f}", f"{100 * rule.llm_share:.1f}", f"{rule.seconds:.3g}",
        "" if rule.speed_up is None else f"{rule.speed_up:.2f}x",
    ]  # fmt: skip


def _level(level: Level) -> list[str]:
    return [
        f"{level.in_flight}" + ("*" if level.outside else ""),
        f"{level.stitched:.3g}", f"{level.gain:.2f}x", f"{level.eager / level.llm:.2f}x",
        *(f"{one:.3g}" for one in (level.p50, level.p95, level.llm_p50, level.llm_p95)),
    ]  # fmt: skip


def _other(level: Level) -> list[str]:
    return [
        f"{level.in_flight}", f"{level.two_devices:.3g}/s",
        f"{level.two_devices / level.stitched:.2f}x", f"{level.two_devices / level.two_llms:.2f}x",
        f"{level.two_wait} rows" if level.two_wait > 1 else "1 row", f"{level.larger:.2f}x",
    ]  # fmt: skip


def _stops(plan: Plan) -> str:
    if plan.stops is None:
        last = plan.levels[-1]
        return f"stitching pays at every level, {last.gain:.2f}x with {last.in_flight} in flight"
    if all(level.gain < 1 for level in plan.levels):
        return "stitching does not pay here: the LLM alone is faster at every level"
    return f"stitching stops paying at {plan.stops} in flight: there the LLM alone is faster"


def _fleet(fleets: list[Fleet]) -> list[str]:
    head = [f"{fleets[0].replicas} replicas, in flight on each", "answers/s", "dealt at random",
            "LLMs that do as much"]  # fmt: skip
    rows = [
        [f"{one.in_flight}", f"{one.even:,.0f}", f"{one.at_random:,.0f}", f"{one.llms}"]
        for one in fleets
    ]
    return aligned([head, *rows])


def _notes(plan: Plan) -> list[str]:
    told = ["all seconds are priced from the profile and rates simulated; none was measured"]
    if plan.llm_guessed:
        told.append("the LLM alone is taken to write answers as long as the stitched ones")
    starred = any(r.outside for r in plan.rules) or any(one.outside for one in plan.levels)
    if starred:
        told.append("*: with passes outside the measured grid, so partly guessed")
    return told
