"""What the benchmarks share: statistics, the machine's description, the closing JSON line."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from rstitch import __version__

RESULTS = Path(__file__).parent / "results"
Z_95_ONE_SIDED = 1.6449


def machine() -> dict[str, Any]:
    """Versions and hardware that a number belongs to."""
    model = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "rstitch": __version__,
    }


def ratio_interval(
    top: Sequence[float], bottom: Sequence[float], rounds: int = 2000
) -> tuple[float, float, float]:
    """sum(top) / sum(bottom) with a 95 % bootstrap interval over problems (seed 0)."""
    a, b = np.asarray(top), np.asarray(bottom)
    pick = np.random.default_rng(0).integers(0, len(a), (rounds, len(a)))
    ratios = a[pick].sum(1) / b[pick].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(a.sum() / b.sum()), float(low), float(high)


def paired_difference(ours: Sequence[bool], theirs: Sequence[bool]) -> tuple[float, float]:
    """Accuracy difference in points, and the lower end of its one-sided 95 % paired interval."""
    difference = 100 * (np.asarray(ours, float) - np.asarray(theirs, float))
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.inf
    mean = difference.mean()
    return float(mean), float(mean - Z_95_ONE_SIDED * error)


def say(text: str = "") -> None:
    print(text, flush=True)


def progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def finish(name: str, ratio: float, goal: float, details: dict[str, Any], save: bool) -> None:
    """Print the one JSON line, and keep it under benchmarks/results/ if asked."""
    record = {"name": name, "ratio": round(ratio, 4), "goal": goal, **details, "on": machine()}
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record), flush=True)
