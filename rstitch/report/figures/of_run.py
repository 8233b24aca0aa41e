"""The figures of a section, from its table: what is drawn is what the table says."""

from __future__ import annotations

from rstitch.report.claim import answers_per_second, claims
from rstitch.report.draw.scene import Scene
from rstitch.report.figures.frontier import Spot, frontier
from rstitch.report.figures.split import Part, split
from rstitch.report.kinds import kind_of, knobs
from rstitch.report.loaded import Loaded


def spots(run: Loaded) -> list[Spot]:
    """Every method whose speed is known."""
    methods, one_by_one = run.config["methods"], run.table.in_flight == 1
    first = {claim.method for claim in claims(run.config, run.table)}
    varying = knobs(methods)
    found = []
    for row in run.table.rows:
        rate = None if one_by_one else answers_per_second(row)
        seconds = row.seconds if one_by_one else 1 / rate if rate else 0.0
        if seconds > 0:
            found.append(
                Spot(
                    row.method, kind_of(methods[row.method]), seconds, row.right, row.interval,
                    len(first) == 1 and row.method in first, varying.get(row.method),
                    methods[row.method]["name"],
                )
            )  # fmt: skip
    return found


def parts(run: Loaded) -> list[Part]:
    """Every method that can be compared in speed with the LLM alone, fastest first."""
    methods, found = run.config["methods"], []
    base = next((row for row in run.table.rows if row.method == run.table.baseline), None)
    for row in run.table.rows:
        kind = kind_of(methods[row.method])
        if row.speed is not None:
            found.append(
                Part(row.method, kind, row.speed.tokens, row.speed.per_token, row.speed.interval)
            )
        elif base is not None and row is not base and row.rate and base.rate and row.tokens:
            found.append(Part(row.method, kind, base.tokens / row.tokens, row.rate / base.rate))
    return sorted(found, key=lambda part: -part.product)


def frontier_of(run: Loaded, width: float) -> Scene | None:
    found = spots(run)
    if not found:
        return None
    many = run.table.in_flight
    name = "seconds per answer" if many == 1 else f"seconds per answer, {many} in flight: 1 / rate"
    return frontier(found, width, name, f"{run.name}: accuracy against seconds per answer")


def split_of(run: Loaded, width: float) -> Scene | None:
    found = parts(run)
    return split(found, width, f"{run.name}: speed-up as tokens times cost") if found else None
