"""The page of the evidence, from what its benchmarks have saved.

    python -m benchmarks.evidence_page [--runs DIR]

Writes benchmarks/results/evidence/README.md from evidence.json and harmful.json. With --runs, the
directory of both benchmarks' runs, report.html and the figures are drawn again as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import RESULTS, ROOT
from benchmarks.evidence import PAIRS

OUT = RESULTS / "evidence"
TASKS = ("test", "fresh", "ood-wording", "ood-kind", "ood-depth")
WINDOWS = ("1", "4", "8", "12", "16")
TITLES = {"brief": "built-in SLM (brief)"}
FIGURES = {
    "brief-frontier": "All methods with the built-in SLM",
    "brief-entropy": "Entropy of both models' tokens",
    "brief-windows": "Entropy before a harmful token",
}
ABOUT = (
    "Made by `python -m benchmarks.evidence`, `benchmarks.harmful` and\n"
    "`benchmarks.evidence_page`; `../evidence.json` and `../harmful.json` have every number,\n"
    "per level and with intervals. Measured on {cores} cores of an {cpu}, torch {torch},\n"
    "float32, greedy, tau 0.03. `fresh` is a test set that nobody had looked at. Percent\n"
    "right, LLM share of the tokens in brackets. Accuracy was taken many in flight; speed one\n"
    "answer at a time, three repeats (two for the other SLMs), methods in turn, on {timed}\n"
    "problems. [report.html](report.html) has the timed runs and the recordings with their\n"
    "answers; from it come"
)
Json = dict[str, Any]


def page(evidence: Json, harmful: Json) -> str:
    """Markdown."""
    tables = evidence["tables"]
    timed = tables["brief-test-latency"]["all"]["rows"][0]["problems"]
    parts = [
        "# Evidence",
        ABOUT.format(**evidence["on"], timed=timed),
        "\n".join(f"![{title}](figures/{name}.png)" for name, title in FIGURES.items()),
    ]
    for pair in PAIRS:
        parts += [f"## {TITLES.get(pair, f'{pair} SLM')}", *_pair(tables, pair)]
        parts.append("\n".join(_harm(harmful["recordings"][pair], harmful["problems"])))
    return "\n\n".join(parts) + "\n"


def _pair(tables: Json, pair: str) -> Iterator[str]:
    found = {task: tables[f"{pair}-{task}-accuracy"]["all"] for task in TASKS}
    timed = {one["method"]: one for one in tables[f"{pair}-test-latency"]["all"]["rows"]}
    marks = {t: {one["method"]: one for one in whole["rows"]} for t, whole in found.items()}
    heads = [f"{task} ({rows['llm']['problems']})" for task, rows in marks.items()]
    lines = [
        "| method | "
        + " | ".join(heads)
        + " | speed over the LLM, 95 % | = fewer x cheaper tokens |"
    ]
    lines.append("|---" * (len(heads) + 3) + "|")
    for method in dict.fromkeys([*marks["test"], *timed]):
        cells = [_mark(rows.get(method)) for rows in marks.values()]
        lines.append("| " + " | ".join([method, *cells, *_speed(timed.get(method), method)]) + " |")
    yield "\n".join(lines)
    for name, whole in tables.items():
        if name.startswith(f"{pair}-") and name.endswith("-core"):
            yield _core(name, whole["all"]["rows"])
    told = [f"- {task}: {one}" for task, whole in found.items() for one in whole["warnings"]]
    if told:
        yield "\n".join(told)


def _mark(row: Json | None) -> str:
    return f"{100 * row['right']:.1f} ({100 * row['llm_share']:.0f})" if row else ""


def _speed(row: Json | None, method: str) -> tuple[str, str]:
    if row is None or method == "llm":
        return ("1" if method == "llm" else ""), ""
    speed = row["speed"]
    low, high = speed["interval"]
    parts = f"{speed['tokens']:.2f} x {speed['per_token']:.2f}"
    return f"{speed['ratio']:.2f} ({low:.2f} to {high:.2f})", parts


def _core(name: str, rows: list[Json]) -> str:
    task = name.split("-")[1]
    right = {one["method"]: one for one in rows}
    ours = right["stitched"]["comparison"]
    percent = {method: f"{100 * one['right']:.2f} %" for method, one in right.items()}
    return (
        f"{rows[0]['problems']:,} problems of {task}: LLM {percent['llm']}, SLM {percent['slm']}, "
        f"stitched {percent['stitched']}: {ours['points']:+.2f} points, one-sided 95 % bound "
        f"{ours['low']:+.2f}, {ours['verdict']}."
    )


def _harm(found: Json, problems: int) -> Iterator[str]:
    yield f"| {problems} test problems, greedy | |"
    yield "|---|---|"
    yield f"| wrong answers of the SLM | {found['harm']['wrong']} |"
    for name in ("h1", "h2"):
        one, sense = found["harm"][name], name.upper()
        low, high = one["interval"]
        silent = f"{100 * (one['silent'] or 0):.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        head = f"{sense}: harmful tokens found; silent (H <= tau), 95 %"
        yield f"| {head} | {one['found']}; {silent} |"
        areas = "; ".join(_area(one, size) for size in WINDOWS)
        yield (
            f"| {sense}: AUROC of entropy at the token; of the mean over the "
            f"{', '.join(WINDOWS[1:])} before | {areas} |"
        )
    own = found["entropy"]["slm"]
    right, wrong = ((own[side] or {}).get("median", float("nan")) for side in ("right", "wrong"))
    yield (
        "| mean entropy of the SLM's tokens; of right answers, wrong ones (medians) | "
        f"{own['mean']:.4f}; {right:.4f}, {wrong:.4f} |"
    )
    long, same = found["lengths"], found["agreement"]
    tokens = f"{long['slm']:.1f}, {long['llm']:.1f}"
    yield f"| tokens of both where both are right: SLM, LLM | {tokens} |"
    shares = f"{100 * same['on_llm_text']:.1f} %, {100 * same['on_slm_text']:.1f} %"
    yield f"| same next token: on the LLM's text, on the SLM's | {shares} |"
    yield f"| right by the SLM alone, wrong when stitched | {found['overwritten']['n']} |"


def _area(sense: Json, size: str) -> str:
    area, interval = sense["auroc"][size], sense["auroc_interval"][size]
    if area is None:
        return "none"
    return f"{area:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def draw(runs: Path) -> None:
    """report.html of the timed runs and recordings, and its figures as PNG, by pair."""
    timed = [runs / f"{pair}-test-latency" for pair in PAIRS]
    recorded = [runs / "harmful" / pair for pair in PAIRS]
    report([*timed, *recorded], "--out", OUT / "report.html")
    for pair, *own in zip(PAIRS, timed, recorded, strict=True):
        for run in own:
            with TemporaryDirectory(dir=OUT) as folder:
                report([run], "--png", Path(folder))
                for file in Path(folder).iterdir():
                    file.replace(OUT / "figures" / f"{pair}-{file.name}")


def report(runs: Sequence[Path], option: str, path: Path) -> None:
    words = [sys.executable, "-m", "rstitch", "report", *map(str, runs), option, str(path)]
    subprocess.run(words, check=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=Path, help="draw the figures again from these runs")
    args = options.parse_args()
    evidence, harmful = (
        json.loads((RESULTS / f"{n}.json").read_text()) for n in ("evidence", "harmful")
    )
    if args.runs:
        draw(args.runs)
    (OUT / "README.md").write_text(page(evidence, harmful))
    print((OUT / "README.md").relative_to(ROOT))


if __name__ == "__main__":
    main()
