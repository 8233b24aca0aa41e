"""The README's figure of R-Stitch+: lambda's frontier beside tau's, from results/router.json.

python -m benchmarks.router_figure
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.common import RESULTS, say
from rstitch.evals.statistics import wilson
from rstitch.report.draw.png import png
from rstitch.report.figures.frontier import Spot, frontier
from rstitch.report.kinds import Kind

OUT = RESULTS / "router.png"
WIDTH = 760.0
CURVES: dict[str, tuple[str, Kind]] = {
    "tau": ("tau", "rival"),
    "router, seed 0": ("lambda", "ours"),
}
"""Families of the benchmark: what their settings are called, and how they look."""
NAMES: dict[Kind, str] = {
    "ours": "R-Stitch+ over lambda", "rival": "entropy rule over tau", "control": "other routers",
}  # fmt: skip


def spots(saved: dict[str, Any]) -> Iterator[Spot]:
    """Settings of both dials on dev, and of the other rules what was chosen there."""
    for key, told in saved["settings_on_dev"].items():
        family, _, setting = key.partition("|")
        if family in CURVES:
            knob, kind = CURVES[family]
            chosen = saved["chosen"][family] == setting
            yield spot(f"{knob} {setting}", kind, told, chosen, (knob, float(setting)), family)
    for family in ("two thresholds", "logistic", "untrained"):
        setting = saved["chosen"][family]
        yield spot(family, "control", saved["settings_on_dev"][f"{family}|{setting}"])


def spot(
    label: str,
    kind: Kind,
    told: dict[str, float],
    first: bool = False,
    knob: tuple[str, float] | None = None,
    curve: str = "",
) -> Spot:
    n = int(told["problems"])
    interval = wilson(round(told["accuracy"] * n), n) if first else None
    seconds, right = told["predicted_seconds"], told["accuracy"]
    return Spot(label, kind, seconds, right, interval, first, knob, curve)


def main() -> None:
    saved = json.loads((RESULTS / "router.json").read_text())
    found = list(spots(saved))
    title = "R-Stitch+ over lambda beside the entropy rule over tau, dev"
    png(frontier(found, WIDTH, "predicted seconds an answer", title, NAMES), OUT)
    say(f"wrote {OUT.name}: {len(found)} settings")


if __name__ == "__main__":
    main()
