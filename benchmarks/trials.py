"""What came of rules on problems, kept in a file: a benchmark of hours goes on where it ended.

A trial is found again by everything that it depends on: models, problems, the rule and its network,
prices, and the source of the package. After a change of any it is run anew.
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
from rstitch.policy.network import network_of
from rstitch.router.prices import PassPrices
from rstitch.router.problems import Graded
from rstitch.router.trial import Trial, tried


@dataclass
class Trials:
    """Of one pair."""

    file: Path
    stitch: Stitch
    price: PassPrices
    max_tokens: int
    _known: dict[str, Trial] = field(default_factory=dict)
    _torn: bool = False

    def __post_init__(self) -> None:
        text = self.file.read_text() if self.file.exists() else ""
        self._torn, lines = bool(text) and not text.endswith("\n"), text.splitlines()
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
            with self.file.open("a") as out:  # on a line of its own, whoever was killed before
                line = json.dumps({"key": key, "trial": asdict(trial)})
                out.write("\n" * self._torn + line + "\n")
            self._torn = False
            self._known[key] = trial
        return self._known[key]

    def _key(self, asked: Sequence[Graded], rule: Policy) -> str:
        spec = rule.spec()
        known = {
            "rule": {name: value for name, value in spec.items() if name != "file"},
            "network": _weights(str(spec["file"])) if "file" in spec else None,
            "problems": [one.text for one in asked],
            "prices": asdict(self.price),
            "max_tokens": self.max_tokens,
            **self._world,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _world(self) -> dict[str, Any]:
        package, source = Path(rstitch.__file__).parent, hashlib.sha256()
        for path in sorted(package.rglob("*.py")):
            source.update(path.read_bytes())
        models = models_of(self.stitch.models)
        return {"source": source.hexdigest(), "models": [one["sha256"] for one in models.values()]}


def _weights(file: str) -> str:
    """Of a network, wherever it lies."""
    total = hashlib.sha256()
    for layer in network_of(file).layers:
        for part in (layer.weight, layer.bias):
            total.update(part.cpu().numpy().tobytes())
    return total.hexdigest()
