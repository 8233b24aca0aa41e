"""A small real run on the tiny pair, whose task is a file of problems, and ways to edit one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rstitch.evals import directory, evaluate
from rstitch.evals.drawn import evenly
from rstitch.evals.evaluate import Plan
from rstitch.evals.methods import make, parse
from rstitch.evals.task import Problem
from rstitch.evals.tasks import make as make_task
from rstitch.evals.verify import Verifier
from rstitch.pairs.hashes import weights
from rstitch.types import Sampling
from tests.evals.doubles import STITCHED
from tests.pair import pair, stitch

Way = Callable[[Sequence[Problem], int | None], list[Problem]]
METHODS = ("llm", "slm", STITCHED, "coin")
KINDS = (
    "llm", STITCHED, "vote,k=3", "cascade,bound=0.0", "opening", "speculative", "early-exit",
    "elsewhere", "requests", "transformers-generate", "rewind,tau=0.6,epsilon=0.01",
)  # fmt: skip
HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'


def task_file(at: Path, n: int = 4) -> Path:
    path = at / "sums.jsonl"
    rows = [
        {"id": f"sum-{i}", "problem": f"What is 1 + {i}?", "answer": str(1 + i), "level": i % 2}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(
    at: Path, *methods: str, n: int = 4, way: Way = evenly, of: int = 4, **changes: Any
) -> Path:
    """A finished run in at/run: of so many problems of a task, n of them, drawn this way."""
    task = make_task(str(task_file(at, of)))
    named = {label: make(parse(label)[0], **parse(label)[1]) for label in methods or METHODS}
    reference = next((label for label in named if label.startswith("stitched")), next(iter(named)))
    given = {"max_tokens": 12, "sampling": Sampling(), **changes}
    plan = Plan(task, tuple(way(task.problems(), n)), named, reference, **given)
    sides = {"slm": str(pair().slm), "llm": str(pair().llm)}
    about = {
        "pair": {"name": "tiny", **sides, "tau": 0.6},
        "models": {side: {"source": source, "revision": None} for side, source in sides.items()},
        "weights": {side: weights(source) for side, source in sides.items()},
        "machine": {"cpu": "a cpu", "cores": 2, "rstitch": "0"},
    }
    out = at / "run"
    with Verifier() as verifier:
        evaluate.run(stitch(), plan, out, about, verifier, lambda *told: None)
    return out


def edited(path: Path, change: Callable[[dict[str, Any]], bool], every: bool = False) -> None:
    """Change the first record for which `change` says that it did, or every one."""
    file = path / directory.RECORDS
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert any([change(one) for one in lines] if every else map(change, lines)), "none was changed"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
