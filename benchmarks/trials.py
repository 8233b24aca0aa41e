"""What came of rules on problems, kept in a file: a benchmark of hours goes on where it ended.

A trial is found again by everything that it depends on: models, problems, the rule and the file of
its network, prices, and the source of engine and policies. After a change of any it is run anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import rstitch
from rstitch.api import Stitch
from rstitch.pairs.bound import models_of
from rstitch.policy import Policy
from rstitch.policy.network import WEIGHTS
from rstitch.router.prices import PassPrices
from rstitch.router.problems import Graded
from rstitch.router.trial import Trial, tried

SOURCES = ("engine", "policy")


@dataclass
class Trials:
    """Of one pair."""

    file: Path
    stitch: Stitch
    price: PassPrices
    max_tokens: int
    _known: dict[str, Trial] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:
                continue  # the last one of a run that was killed
            trial = {one.name: tuple(found["trial"][one.name]) for one in fields(Trial)}
            self._known[found["key"]] = Trial(**trial)

    def of(self, asked: Sequence[Graded], rule: Policy) -> Trial:
        """The rule's greedy answers to those problems, now or earlier."""
        key = self._key(asked, rule)
        if key not in self._known:
            trial = tried(self.stitch, asked, rule, self.price, self.max_tokens)
            with self.file.open("a") as out:
                out.write(json.dumps({"key": key, "trial": asdict(trial)}) + "\n")
            self._known[key] = trial
        return self._known[key]

    def _key(self, asked: Sequence[Graded], rule: Policy) -> str:
        spec = rule.spec()
        network = Path(str(spec.get("file", ""))) / WEIGHTS
        known = {
            "rule": spec,
            "network": _digest([network]) if network.is_file() else None,
            "problems": [one.text for one in asked],
            "prices": asdict(self.price),
            "max_tokens": self.max_tokens,
            **self._world,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _world(self) -> dict[str, Any]:
        package = Path(rstitch.__file__).parent
        source = sorted(path for part in SOURCES for path in (package / part).rglob("*.py"))
        models = models_of(self.stitch.models)
        return {"source": _digest(source), "models": [one["sha256"] for one in models.values()]}


def _digest(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()
