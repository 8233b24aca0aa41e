"""A small real run on the tiny pair, whose task is a file of problems, and ways to edit one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rstitch.evals import directory, evaluate
from rstitch.evals.evaluate import Plan
from rstitch.evals.methods import make, parse
from rstitch.evals.tasks import make as make_task
from rstitch.evals.verify import Verifier
from rstitch.pairs.hashes import weights
from rstitch.types import Sampling
from tests.evals.doubles import STITCHED
from tests.pair import pair, stitch

METHODS = ("llm", "slm", STITCHED, "coin")
HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'


def task_file(at: Path, n: int = 4) -> Path:
    path = at / "sums.jsonl"
    rows = [
        {"id": f"sum-{i}", "problem": f"What is 1 + {i}?", "answer": str(1 + i), "level": i % 2}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(at: Path, *methods: str, **changes: Any) -> Path:
    """A finished run in at/run."""
    task = make_task(str(task_file(at)))
    named = {label: make(parse(label)[0], **parse(label)[1]) for label in methods or METHODS}
    reference = next((label for label in named if label.startswith("stitched")), next(iter(named)))
    given = {"max_tokens": 12, "sampling": Sampling(), **changes}
    plan = Plan(task, tuple(task.problems()), named, reference, **given)
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
