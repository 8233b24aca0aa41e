"""From the records of a run to what they say: one row per method, compared with the LLM alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from rstitch.baselines.early_exit import bound
from rstitch.evals import statistics as st
from rstitch.evals.methods import CONTROLS
from rstitch.evals.statistics import Comparison, Interval, SpeedUp

MATCHED = 0.01
"""How far a control's LLM share may be from the reference's."""
TRUNCATED = 0.02
"""Share of the LLM's answers cut off by the budget from which a comparison with it is unfair."""

Record = Mapping[str, Any]
Cell = tuple[str, int]
"""(problem, sample)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method over all problems that it has finished."""

    method: str
    problems: int
    answers: int
    right: float
    """Share of answers."""
    interval: Interval
    truncated: float
    """Share of answers cut off by the budget."""
    failed: int
    """Answers that could not be written: wrong, and in no latency that is compared."""
    tokens: float
    """Per answer, with drafts and trials in vain and lost votes; without discarded proposals."""
    llm_share: float
    """Of the tokens without those in vain."""
    handoffs: float
    seconds: float
    """Per answer that did not fail: the median of its repeats, then the mean."""
    comparison: Comparison | None = None
    """With the baseline, on the problems that both have finished."""
    p: float | None = None
    """Of the comparison, after Holm over the methods."""
    speed: SpeedUp | None = None
    share_off: float | None = None
    """A control's LLM share less the reference's."""
    rate: float | None = None
    """Tokens per second, many in flight; of a method that answers several at once."""
    alone: bool = False
    """Many were to be in flight, and it answered one at a time all the same."""
    bound: float | None = None
    """Of early exit: times faster at most that the same answers were if its trials were free."""
    error: str | None = None
    """Of the first that failed."""
    frontier: bool = True
    """No other method is as good in both accuracy and speed, and better in one."""


@dataclass(frozen=True, slots=True)
class Table:
    rows: list[Row]
    baseline: str | None
    in_flight: int
    warnings: list[str]


def table(config: Mapping[str, Any], records: Sequence[Record]) -> Table:
    """Of a run, finished or not."""
    answers = _by_method(records, config["methods"])
    baseline = next((m for m, s in config["methods"].items() if _is_llm_alone(s)), None)
    one_by_one = config["asked"]["in_flight"] == 1
    rows = []
    for method, cells in answers.items():
        row = _row(method, cells, records)
        if baseline in answers and method != baseline:
            row = _compared(row, cells, answers[baseline], one_by_one)
        rows.append(row)
    rows = _on_frontier(_corrected(_matched(rows, config)), one_by_one)
    in_flight = config["asked"]["in_flight"]
    return Table(rows, baseline, in_flight, _warnings(config, rows, baseline))


def groups(config: Mapping[str, Any], records: Sequence[Record]) -> dict[str, Table]:
    """A table per level or subject, where the task has any; without warnings of their own. Many in
    flight, a method's rate is that of the whole run."""
    names = sorted({one["group"] for one in records if one["type"] == "answer" and one["group"]})
    found = {
        name: table(config, [one for one in records if one.get("group", name) == name])
        for name in names
    }
    return {name: replace(one, warnings=[]) for name, one in found.items()}


def _by_method(
    records: Sequence[Record], methods: Mapping[str, Any]
) -> dict[str, dict[Cell, Record]]:
    found: dict[str, dict[Cell, Record]] = {method: {} for method in methods}
    for one in records:
        if one["type"] == "answer" and one["method"] in found:
            found[one["method"]][one["problem"], one["sample"]] = one
    return {method: cells for method, cells in found.items() if cells}


def _is_llm_alone(spec: Mapping[str, Any]) -> bool:
    return bool(spec["name"] == "llm")


def _row(method: str, cells: Mapping[Cell, Record], records: Sequence[Record]) -> Row:
    every = list(cells.values())
    right, n = sum(one["right"] for one in every), len(every)
    problems = {problem for problem, _ in cells}
    marks = list(_grouped(cells, "right").values())
    waits = [median(one["seconds"]) for one in every if one["reason"] != "failed"]
    batches = [one for one in records if one["type"] == "batch" and one["method"] == method]
    alone = any(not one.get("batches", True) for one in batches)
    seconds = 0.0 if alone else sum(one["seconds"] for one in batches)
    tokens, llm = (sum(one[key] for one in every) for key in ("tokens", "llm_tokens"))
    kept = tokens - sum(one.get("lost_tokens", 0) for one in every)
    return Row(
        method=method,
        problems=len(problems),
        answers=n,
        right=right / n,
        interval=st.wilson(right, n) if n == len(problems) else st.clustered(marks),
        truncated=sum(one["reason"] == "length" for one in every) / n,
        failed=sum(one["reason"] == "failed" for one in every),
        tokens=tokens / n,
        llm_share=llm / kept if kept else 0.0,
        handoffs=sum(one["handoffs"] for one in every) / n,
        seconds=sum(waits) / max(1, len(waits)),
        rate=sum(one["tokens"] for one in batches) / seconds if seconds else None,
        alone=alone,
        bound=_bound(every),
        error=next((one["extra"]["error"] for one in every if one["reason"] == "failed"), None),
    )


def _bound(answers: Sequence[Record]) -> float | None:
    """Trials are timed within an answer's last repeat."""
    trials = sum(one["extra"].get("trial_seconds", 0.0) for one in answers)
    return bound(trials / sum(one["seconds"][-1] for one in answers)) if trials else None


def _grouped(cells: Mapping[Cell, Record], key: str) -> dict[str, list[float]]:
    """Values of each problem's samples."""
    found: dict[str, list[float]] = {}
    for (problem, _), one in cells.items():
        value = median(one[key]) if key == "seconds" else float(one[key])
        found.setdefault(problem, []).append(value)
    return found


def _compared(
    row: Row, cells: Mapping[Cell, Record], base: Mapping[Cell, Record], one_by_one: bool
) -> Row:
    both = [cell for cell in cells if cell in base]
    if not both:
        return row
    ours, theirs = ({cell: side[cell] for cell in both} for side in (cells, base))
    timed = [cell for cell in both if "failed" not in (cells[cell]["reason"], base[cell]["reason"])]

    def means(side: Mapping[Cell, Record], key: str) -> list[float]:
        return [float(np.mean(values)) for values in _grouped(side, key).values()]

    comparison = st.compare(means(ours, "right"), means(theirs, "right"))
    speed = None
    if one_by_one and timed:
        slow, fast = ({cell: side[cell] for cell in timed} for side in (base, cells))
        speed = st.speed_up(
            means(slow, "seconds"), means(fast, "seconds"),
            means(slow, "tokens"), means(fast, "tokens"),
        )  # fmt: skip
    return replace(row, comparison=comparison, speed=speed)


def _matched(rows: Sequence[Row], config: Mapping[str, Any]) -> list[Row]:
    reference, shares = config["asked"]["reference"], {row.method: row.llm_share for row in rows}
    controls = [label for label, spec in config["methods"].items() if spec["name"] in CONTROLS]
    if reference not in shares:
        return list(rows)
    return [
        replace(row, share_off=row.llm_share - shares[reference]) if row.method in controls else row
        for row in rows
    ]


def _corrected(rows: Sequence[Row]) -> list[Row]:
    compared = [row.comparison.p for row in rows if row.comparison]
    corrected = iter(st.holm(compared))
    return [replace(row, p=next(corrected)) if row.comparison else row for row in rows]


def _on_frontier(rows: Sequence[Row], one_by_one: bool) -> list[Row]:
    """By point estimates: no other is better in one of accuracy and speed and as good in the other.
    Speed is seconds an answer, or where many are in flight, at the rate of tokens."""
    merit = {
        row.method: (row.right, -cost)
        for row in rows
        if (cost := _cost(row, one_by_one)) is not None
    }

    def beaten(ours: tuple[float, float]) -> bool:
        return any(
            theirs != ours and theirs[0] >= ours[0] and theirs[1] >= ours[1]
            for theirs in merit.values()
        )

    return [
        replace(row, frontier=row.method in merit and not beaten(merit[row.method])) for row in rows
    ]


def _cost(row: Row, one_by_one: bool) -> float | None:
    """Seconds an answer, of those that did not fail; None where they are not known."""
    written = row.answers - row.failed
    if not written:
        return None
    if one_by_one:
        return row.seconds
    return row.tokens * row.answers / written / row.rate if row.rate else None  # failed: 0 tokens


def _warnings(config: Mapping[str, Any], rows: Sequence[Row], baseline: str | None) -> list[str]:
    found = []
    for row in rows:
        if row.method == baseline and row.truncated > TRUNCATED:
            found.append(
                f"max_tokens {config['asked']['max_tokens']} cut off {row.truncated:.0%} of the "
                f"answers of {row.method}: any method with shorter answers looks better than it is"
            )
        if row.failed:
            found.append(
                f"{row.failed} of {row.answers} answers of {row.method} failed: {row.error}"
            )
        if row.share_off is not None and abs(row.share_off) > MATCHED:
            found.append(
                f"{row.method} is no fair control: its LLM share is {100 * row.share_off:+.1f} "
                f"points from that of {config['asked']['reference']}"
            )
    alone = [row.method for row in rows if row.alone]
    if alone:
        found.append(
            f"{', '.join(alone)} answered one at a time: no rate, and not on the frontier; compare "
            "latencies, without --in-flight"
        )
    wanted = config["asked"]["problems"] * config["asked"]["samples"]
    short = [row.method for row in rows if row.answers < wanted]
    if short:
        found.append(f"not finished: {', '.join(short)}")
    unclear = [
        row.comparison for row in rows if row.comparison and row.comparison.verdict == "unclear"
    ]
    if unclear and unclear[0].n < st.fewest():
        found.append(
            f"{unclear[0].n} problems cannot show that a method is not worse within a point; "
            f"{st.fewest()} could, if no answer changed"
        )
    return found
