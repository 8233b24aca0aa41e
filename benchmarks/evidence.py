"""The built-in LLM with three small models, every method, in and out of distribution.

    python -m benchmarks.evidence [--quick] [--save] [--runs DIR] [--only accuracy|latency|tables]

Accuracy is taken with many in flight, latency one at a time on a few problems, each in a run
directory of `rstitch eval` under --runs: a killed benchmark goes on where it was. What is asked of
the brief SLM at the tau fixed on dev is checked at the end, what fails is printed as a failure.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, finish, parsed, parser, progress, say, show_bars
from rstitch.evals import directory
from rstitch.evals.table import MATCHED, Row, Table, groups, table
from rstitch.pairs import preset
from rstitch.pairs.hashes import weights
from rstitch.types import Side

PAIRS = {
    "brief": "builtin",
    "overconfident": "builtin-overconfident",
    "sibling": "builtin-sibling",
}
FRESH = "test,seed=20261125"
"""A test set that nobody has looked at before this benchmark."""
TASKS = ("test", "ood-kind", "ood-depth", "ood-wording", FRESH)
CORE = ("llm", "slm", "stitched")
CONTROLS = ("coin", "two-state", "elsewhere", "requests")
BATCHED = (*CORE, "vote", "cascade", "brief", "opening", *CONTROLS)
ALONE = ("speculative", "gated-speculative", "early-exit")
OUTSIDE = ("transformers-generate", "transformers-assisted")
IN_FLIGHT = 64
WORSE = 0.10
"""By how much the best control has to be less accurate."""
FASTER = 1.5
"""Times as fast as the better of both speculative decodings."""


@dataclass(frozen=True)
class Part:
    """One run: a pair, a task, methods, and how many problems."""

    pair: str
    task: str
    methods: tuple[str, ...]
    problems: int
    kind: str
    """accuracy or latency."""

    @property
    def name(self) -> str:
        seed = "fresh" if self.task == FRESH else self.task
        core = "-core" if self.methods == CORE else ""
        return f"{self.pair}-{seed}-{self.kind}{core}"

    @property
    def repeats(self) -> int:
        """How often each answer is timed; the bars are about the brief pair."""
        return 3 if self.pair == "brief" else 2


def parts(quick: bool) -> Iterator[Part]:
    """What shows a difference of one point wants 4,000 problems; ten points are seen on few."""
    few, many, timed = (8, 24, 3) if quick else (150, 4000, 24)
    more = (16, 10) if quick else (1000, 200)  # on test, and elsewhere
    for pair in PAIRS:
        brief = pair == "brief"
        for task in ("test", FRESH) if brief else ("test",):
            yield Part(pair, task, CORE, many if brief else many // 4, "accuracy")
        for task in TASKS[:2] if quick else TASKS:
            n = more[task != "test"] if brief else few
            yield Part(pair, task, BATCHED, n, "accuracy")
        methods = (*BATCHED, *ALONE, *OUTSIDE) if brief else (*CORE, *ALONE, OUTSIDE[1])
        yield Part(pair, "test", methods, timed, "latency")


def command(part: Part, runs: Path, threads: int | None) -> list[str]:
    words = [sys.executable, "-m", "rstitch", "eval", part.task, "--pair", PAIRS[part.pair]]
    words += ["--problems", str(part.problems), "--out", str(runs / part.name), "--json"]
    for method in part.methods:
        words += ["--method", method]
    if part.kind == "accuracy":
        words += ["--in-flight", str(IN_FLIGHT), "--no-traces"]
    else:
        words += ["--repeats", str(part.repeats)]
    if threads:
        words += ["--threads", str(threads)]
    return words


def is_whole(part: Part, runs: Path) -> bool:
    """Whether nothing is owed: other code would not go on with a run, and need not.

    Raises SystemExit for a run of something else under that name.
    """
    if not (runs / part.name).is_dir():
        return False
    config = directory.read_config(runs / part.name)
    answers = sum(one["type"] == "answer" for one in directory.read_records(runs / part.name))
    asked = config["asked"]
    same = asked["problems"] == part.problems and tuple(config["methods"]) == part.methods
    if not same or asked["weights"] != weights_of(part):
        raise SystemExit(f"{runs / part.name} is of other problems, methods or weights; delete it")
    return bool(answers == part.problems * len(part.methods))


def weights_of(part: Part) -> dict[str, Any]:
    found = preset(PAIRS[part.pair])
    return {side.label: weights(found.side(side).path, None) for side in Side}


def read(part: Part, runs: Path) -> tuple[Table, dict[str, Table]]:
    config = directory.read_config(runs / part.name)
    records = list(directory.read_records(runs / part.name))
    return table(config, records), groups(config, records)


def row(found: Table, method: str) -> Row:
    return next(one for one in found.rows if one.method == method)


# -- what is asked --------------------------------------------------------------------------------


def seconds_of(found: dict[str, Table], pair: str, method: str) -> float:
    """Per answer, over the LLM alone's in the same run."""
    ours = found[f"{pair}-test-latency"]
    return row(ours, method).seconds / row(ours, "llm").seconds


def rival(found: dict[str, Table]) -> float:
    """How much faster stitching with the brief SLM is than the better speculative decoding."""
    ours = seconds_of(found, "brief", "stitched")
    return min(seconds_of(found, pair, "speculative") for pair in ("brief", "sibling")) / ours


def beaten(found: dict[str, Table]) -> list[str]:
    """Methods of the brief pair that are faster than stitching and more accurate.

    Both are compared on the same problems: those of the batched run, or of the timed one for
    methods that answer one at a time.
    """
    times, marks = found["brief-test-latency"], found["brief-test-accuracy"]
    ours = row(times, "stitched").seconds
    faster = [one.method for one in times.rows if one.seconds < ours]
    many = {one.method for one in marks.rows}
    return [one for one in faster if _more_right(marks if one in many else times, one)]


def _more_right(among: Table, method: str) -> bool:
    return row(among, method).right > row(among, "stitched").right


def control_gap(found: dict[str, Table]) -> float | None:
    """Accuracy of stitching less that of the best random control, brief SLM, test; of controls
    whose LLM share is matched. None where a control is not."""
    ours = found["brief-test-accuracy"]
    controls = [row(ours, one) for one in CONTROLS]
    if any(one.share_off is None or abs(one.share_off) > MATCHED for one in controls):
        return None
    return row(ours, "stitched").right - max(one.right for one in controls)


def bars(found: dict[str, Table]) -> dict[str, bool]:
    gap = control_gap(found)
    told: dict[str, bool] = {
        "no method is both faster and more accurate": not beaten(found),
        f"{FASTER}x the better speculative decoding": rival(found) >= FASTER,
        "the best control is 10 points worse": gap is not None and gap >= WORSE,
    }
    for name in ("brief-test-accuracy-core", "brief-fresh-accuracy-core"):
        comparison = row(found[name], "stitched").comparison
        verdict = comparison is not None and comparison.verdict == "not worse"
        told[f"{name}: not inferior to the LLM"] = verdict
    return told


def show(name: str, found: Table) -> None:
    say(f"\n{name}")
    for one in found.rows:
        speed = f"{one.speed.ratio:5.2f}x" if one.speed else f"{one.rate or 0:5.0f}/s"
        say(
            f"  {one.method:<22} {100 * one.right:6.2f} % {one.tokens:7.1f} tokens"
            f" {one.llm_share:7.1%} LLM {1000 * one.seconds:8.1f} ms {speed}"
        )


def main() -> None:
    options = parser(__doc__, "a dozen problems of each: numbers mean nothing")
    options.add_argument("--runs", type=Path, default=ROOT / "runs" / "evidence")
    options.add_argument("--only", choices=("accuracy", "latency", "tables"))
    options.add_argument("--pair", choices=PAIRS, help="this one alone")
    options.add_argument("--threads", type=int)
    args = parsed(options)
    if args.quick:
        args.runs = args.runs / "quick"
    chosen = [one for one in parts(args.quick) if args.pair in (None, one.pair)]
    for part in chosen:
        if args.only in (None, part.kind) and not is_whole(part, args.runs):
            progress(f"{part.name}: {part.problems} problems, {len(part.methods)} methods")
            subprocess.run(
                command(part, args.runs, args.threads), check=True, stdout=subprocess.DEVNULL
            )
    if args.only in ("accuracy", "latency") or args.pair:
        return
    found = {part.name: read(part, args.runs) for part in chosen}
    for name, (whole, _) in found.items():
        show(name, whole)
    tables = {name: whole for name, (whole, _) in found.items()}
    told = bars(tables)
    show_bars(told)
    details: dict[str, Any] = {
        "bars": told,
        "beaten_by": beaten(tables),
        "control_gap": control_gap(tables),
        "tables": {
            name: {"all": asdict(whole), "groups": {k: asdict(v)["rows"] for k, v in by.items()}}
            for name, (whole, by) in found.items()
        },
    }
    finish("evidence", rival(tables), FASTER, details, args.save)


if __name__ == "__main__":
    main()
