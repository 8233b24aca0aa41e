"""Trials that a benchmark keeps: found again where nothing has changed, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import trials
from benchmarks.trials import Trials
from rstitch.costs import LinearCosts
from rstitch.evals.verify import Verifier
from rstitch.policy import make
from rstitch.policy.network import Layer, Network
from rstitch.router.policies import Held, held
from rstitch.router.prices import PassPrices
from rstitch.router.problems import Graded, graded, task_of
from tests.pair import stitch

PRICE = PassPrices(LinearCosts((1.0, 5.0), (0.1, 0.5)))


def asked(n: int) -> list[Graded]:
    task = task_of("dev")
    with Verifier() as verifier:
        return graded(task, verifier, task.problems()[:n])


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was not known and had to be run."""
    found: list[Any] = []
    real = trials.tried

    def counting(*args: Any) -> Any:
        found.append(args)
        return real(*args)

    monkeypatch.setattr(trials, "tried", counting)
    return found


def test_a_trial_is_run_once_and_one_that_is_torn_again(tmp_path: Path, runs: list[Any]) -> None:
    file, some = tmp_path / "trials.jsonl", asked(2)
    pair = stitch()
    rules = [make("entropy", tau=0.1), make("entropy", tau=0.2)]
    first = [Trials(file, pair, PRICE, 8).of(some, rule) for rule in rules]
    assert [Trials(file, pair, PRICE, 8).of(some, rule) for rule in rules] == first
    assert len(runs) == 2
    file.write_text(file.read_text()[:-20])  # killed while it wrote
    for _ in range(2):
        assert [Trials(file, pair, PRICE, 8).of(some, rule) for rule in rules] == first
    assert len(runs) == 3
    Trials(file, pair, PRICE, 9).of(some, rules[0])
    Trials(file, pair, PRICE, 8).of(some[:1], rules[0])
    assert len(runs) == 5


def test_another_network_of_the_same_name_is_another_rule(tmp_path: Path, runs: list[Any]) -> None:
    pair = stitch()
    width = pair.in_process.runners[0].model.config.hidden_size  # type: ignore[index, attr-defined]
    for bias in (0.0, 1.0, 0.0):
        weight = torch.zeros(1, width + 2)
        file = held(Network([Layer(weight, torch.tensor([bias]))]), "same")
        Trials(tmp_path / "t.jsonl", pair, PRICE, 4).of(asked(1), Held(file=file, tau=0.1))
    assert len(runs) == 2
