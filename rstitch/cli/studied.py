"""A study as text: what it will take, and its tables with the paper's figures beside ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rstitch.cli.tabled import aligned

if TYPE_CHECKING:
    from rstitch.evals.study.kept import Kept
    from rstitch.evals.study.outcome import Line, Outcome
    from rstitch.evals.study.price import Prices

HOUR = 3600.0
HEAD = [
    "", "right %", "95 %", "paper", "tokens", "LLM %", "cut off %", "s, timed", "speed-up", "95 %",
    "~s, all", "~speed-up", "paper s", "paper x",
]  # fmt: skip


def expected(found: Kept) -> tuple[float, list[str]]:
    """Hours that are owed, and lines that tell them: by kind of cell, and what was left out."""
    from rstitch.evals.study import estimate, kept
    from rstitch.evals.study.cells import cells

    owed = kept.owed(kept.finished(found))
    study, probe, sizes = found.study, found.probe, found.sizes
    total = estimate.seconds(study, probe, sizes, owed) / HOUR
    rows = [["", "hours, at most", "answers"]]
    for kind in ("latency", "accuracy", "draft"):
        chosen = [cell for cell in cells(study) if cell.kind == kind]
        hours = sum(estimate.cell_seconds(study, c, probe, sizes, owed) for c in chosen) / HOUR
        left = sum(
            owed(c, m, min(c.problems or sizes[c.task], sizes[c.task]) * c.samples)
            for c in chosen
            for m in c.methods
        )
        if left:
            rows.append([kind, f"{hours:.3g}", str(left)])
    one, many = probe.one, probe.many
    lines = [
        f"{study.title}: about {total:.2g} hours of this machine",
        *(f"  {line}" for line in aligned(rows)),
        f"  seconds a token: SLM {one[0]:.2g}, LLM {one[1]:.2g}; {study.in_flight} in flight: SLM "
        f"{many[0]:.2g}, LLM {many[1]:.2g}",
        "  a stitched token counts as one of the LLM, what answers one at a time as twice the LLM",
    ]
    return total, [*lines, *left_out(found)]


def left_out(found: Kept) -> list[str]:
    return [f"left out to fit the hours: {line}" for line in found.dropped]


def lines(found: Kept, made: Outcome) -> list[str]:
    """A table per budget and task, then all tasks together, then what the signs mean."""
    from rstitch.evals.study.outcome import overall

    keys = list(dict.fromkeys((line.budget, line.task) for line in made.lines))
    told: list[str] = [found.study.title]
    for budget, task in keys:
        chosen = [one for one in made.lines if (one.budget, one.task) == (budget, task)]
        told += ["", f"{task}, {budget} tokens at most, {_sizes(chosen)}"]
        told += aligned([HEAD, *map(_row, chosen)])
    together = overall(made.lines)
    if together:
        told += ["", "all tasks: mean accuracy, geometric mean of the priced speed-ups"]
        told += aligned([["", "tokens at most", "right %", "~speed-up", "paper %", "paper x"]] + [
            [one["method"], str(one["budget"]), f"{one['right']:.2f}{_mark(one['timed_only'])}",
             _times(one["speed_up"]), _number(one["paper_right"]), _times(one["paper_speed_up"])]
            for one in together
        ])  # fmt: skip
    return [*told, "", *_legend(made.prices), *left_out(found)]


def _sizes(chosen: Sequence[Line]) -> str:
    first, timed = chosen[0].accuracy, chosen[0].timed
    counted = f"{first.problems} problems, {first.answers} answers each method"
    return counted + (f", {timed.problems} timed" if timed else "")


def _row(line: Line) -> list[str]:
    row, timed, priced, paper = line.accuracy, line.timed, line.priced, line.paper
    low, high = row.interval
    cells = [
        line.method, f"{100 * row.right:.1f}{_mark(line.timed_only)}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{paper.right:.1f}" if paper else "", f"{row.tokens:.0f}", f"{100 * row.llm_share:.1f}",
        f"{100 * row.truncated:.1f}", f"{timed.seconds:.3g}" if timed else "",
    ]  # fmt: skip
    speed = timed.speed if timed else None
    cells += (
        [f"{speed.ratio:.2f}x", "{:.2f} to {:.2f}".format(*speed.interval)] if speed else ["", ""]
    )
    cells += [f"~{priced.seconds:.3g}", _times(priced.speed_up, "~")] if priced else ["", ""]
    return [*cells, *([f"{paper.seconds:.4g}", _times(paper.speed_up)] if paper else ["", ""])]


def _legend(prices: Prices | None) -> list[str]:
    told = [
        "s, timed: measured, one answer at a time; speed-up against the llm on the same problems.",
        "*: accuracy on the timed problems only. paper: arXiv 2507.17307, one A100.",
    ]
    if prices is None:
        return [*told, "~: too few timed answers to price the others."]
    error = "" if math.isnan(prices.error) else (
        f"; on problems left out of the fit off by {100 * prices.error:.0f} % an answer, "
        f"{100 * prices.bias:+.1f} % in sum"
    )  # fmt: skip
    priced = "~: priced, not measured, from passes and tokens in the traces"
    return [*told, f"{priced} (fitted on {prices.answers} timed answers{error})."]


def as_json(found: Kept, made: Outcome) -> dict[str, Any]:
    """Everything that the text says and more, in plain values."""
    from rstitch.evals.study.outcome import overall

    prices = None if made.prices is None else asdict(made.prices)
    if prices is not None:
        prices |= {k: v if math.isfinite(v) else None for k, v in prices.items() if k in NUMBERS}
    return {
        "study": found.study.asdict(),
        "left_out": list(found.dropped),
        "prices": prices,
        "lines": [asdict(line) for line in made.lines],
        "all_tasks": overall(made.lines),
        "warnings": made.warnings,
    }


NUMBERS = ("error", "bias")


def _mark(timed_only: bool) -> str:
    return "*" if timed_only else ""


def _times(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{sign}{value:.2f}x"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
