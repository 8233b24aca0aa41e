"""What a section's numbers belong to, as a reader needs it: pair, task, machine, versions, date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from rstitch.defaults import told
from rstitch.evals import directory
from rstitch.report.loaded import Loaded
from rstitch.types import SHIFTS


def about(run: Loaded) -> list[tuple[str, str]]:
    """(what, value) in reading order. Directories are named without the way to them."""
    asked = run.asked
    found = [
        ("pair", _pair(asked)),
        ("task", _task(asked)),
        ("decoding", _decoding(asked)),
        ("timing", _timing(asked)),
        ("machine", _machine(asked.get("machine", {}))),
        ("versions", _versions(asked.get("machine", {}))),
        ("finished", finished(run)),
        ("run" if len(run.paths) == 1 else "runs, merged", run.name),
    ]
    return [(what, value) for what, value in found if value]


def finished(run: Loaded) -> str:
    """The day of the last answer, by the files."""
    last = max((path / directory.RECORDS).stat().st_mtime for path in run.paths)
    return datetime.datetime.fromtimestamp(last, datetime.UTC).strftime("%Y-%m-%d")


def title(run: Loaded) -> str:
    asked = run.asked
    pair = asked.get("pair", {}).get("name", "a pair")
    many = asked["in_flight"]
    return f"{PurePath(pair).stem}, {_name(asked)}" + (f", {many} in flight" if many > 1 else "")


def _name(asked: Mapping[str, Any]) -> str:
    """As it was given on the command line, but without the way to a file."""
    task = asked["task"]
    return PurePath(str(task.get("path", task["name"]))).name


def _pair(asked: Mapping[str, Any]) -> str:
    pair, models = asked.get("pair", {}), asked.get("models", {})
    told = []
    for side in ("slm", "llm"):
        model = models.get(side, {})
        source, revision = str(model.get("source", "")), model.get("revision")
        name = "/".join(PurePath(source).parts[-1:]) if Path(source).is_absolute() else source
        weights = asked.get("weights", {}).get(side, {})
        sums = [sum_ for file, sum_ in weights.items() if file.endswith((".safetensors", ".gguf"))]
        mark = str(revision)[:10] if revision else sums[0][:10] if sums else ""
        told.append(f"{side.upper()} {name}" + (f" ({mark})" if mark else ""))
    tau = pair.get("tau")
    return f"{PurePath(pair.get('name', '')).name}: {', '.join(told)}" + (
        f"; its tau {tau:g}" if isinstance(tau, int | float) else ""
    )


def _task(asked: Mapping[str, Any]) -> str:
    extra = [f"{k} {v}" for k, v in asked["task"].items() if k not in ("name", "path") and v]
    each = f", {asked['samples']} answers each" if asked["samples"] > 1 else ""
    return ", ".join([_name(asked), *extra, f"{asked['problems']} problems{each}"])


def _decoding(asked: Mapping[str, Any]) -> str:
    sampling = asked.get("sampling", {})
    counts = sampling if sampling.get("temperature", 0) else dict.fromkeys(SHIFTS, 0)
    said = [told(k.replace("_", "-"), v) for k, v in sampling.items() if v and k in counts]
    how = ", ".join(said if sampling.get("temperature", 0) else ["greedy", *said])
    return f"{how}, at most {asked['max_tokens']} tokens, seed {asked.get('seed', 0)}"


def _timing(asked: Mapping[str, Any]) -> str:
    if asked["in_flight"] > 1:
        return f"{asked['in_flight']} answers in flight: rates, no latencies"
    return f"one answer at a time, methods in turns, the median of {asked['repeats']}"


def _machine(machine: Mapping[str, Any]) -> str:
    parts = [machine.get("gpu"), machine.get("cpu")]
    cores = machine.get("cores")
    return ", ".join([*(str(p) for p in parts if p), *([f"{cores} cores"] if cores else [])])


def _versions(machine: Mapping[str, Any]) -> str:
    names = ("rstitch", "torch", "transformers", "python")
    return ", ".join(f"{name} {machine[name]}" for name in names if name in machine)
