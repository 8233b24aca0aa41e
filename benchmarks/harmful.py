"""The tokens that make the small models' answers wrong, and how many of them the gate lets pass.

    python -m benchmarks.harmful [--quick] [--save] [--runs DIR] [--pair NAME]

`rstitch record --harmful` on test for each SLM of the evidence, greedy. Asked: 20 to 40 % of the
overconfident SLM's harmful tokens are silent (H <= tau). A killed benchmark goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, finish, parsed, parser, progress, say, show_bars
from benchmarks.evidence import CORE, PAIRS

SILENT = (0.2, 0.4)
"""What the overconfident SLM was made for: its share of first harmful tokens (H1) at H <= tau."""


def recorded(name: str, runs: Path, problems: int) -> dict[str, Any]:
    """A pair's analysis, as `rstitch record --json` prints it, without what is told per problem."""
    words = [sys.executable, "-m", "rstitch", "record", "test", "--pair", PAIRS[name]]
    words += ["--harmful", "--problems", str(problems), "--out", str(runs / name), "--json"]
    for method in CORE:
        words += ["--method", method]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    found.pop("recording")
    found["agreement"].pop("per_problem")
    found["entropy"].pop("histogram")
    return found


def silent(found: dict[str, Any]) -> float | None:
    share: float | None = found["harm"]["h1"]["silent"]
    return share


def show(name: str, found: dict[str, Any]) -> None:
    harm = found["harm"]
    say(f"\n{name}: {harm['wrong']} wrong answers of the SLM")
    for sense in ("h1", "h2"):
        one = harm[sense]
        low, high = one["interval"]
        say(
            f"  {sense.upper()} {one['found']:4d} harmful tokens, silent "
            f"{one['silent'] or 0:.1%} ({low:.1%} to {high:.1%}), AUROC {one['auroc']['1']}"
        )


def main() -> None:
    options = parser(__doc__, "a dozen problems: numbers mean nothing")
    options.add_argument("--runs", type=Path, default=ROOT / "runs" / "evidence" / "harmful")
    options.add_argument("--pair", choices=PAIRS, help="this one alone")
    args = parsed(options)
    problems, runs = (12, args.runs / "quick") if args.quick else (300, args.runs)
    found: dict[str, dict[str, Any]] = {}
    for name in PAIRS if args.pair is None else (args.pair,):
        progress(f"{name}: {problems} problems")
        found[name] = recorded(name, runs, problems)
        show(name, found[name])
    if args.pair:
        return
    share = silent(found["overconfident"]) or 0.0
    bars = {"silent harmful tokens of the overconfident SLM": SILENT[0] <= share <= SILENT[1]}
    show_bars(bars)
    details = {"bars": bars, "problems": problems, "recordings": found}
    finish("harmful", share, SILENT[0], details, args.save)


if __name__ == "__main__":
    main()
