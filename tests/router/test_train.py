"""A training on the random pair, whose SLM is graded by a rule that its hand-offs can change."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from rstitch.costs import LinearCosts
from rstitch.errors import BadRequest, BadRun
from rstitch.evals.task import Problem, Task
from rstitch.evals.verify import Verifier
from rstitch.explain import check
from rstitch.pairs.bound import models_of
from rstitch.policy import make
from rstitch.policy.network import read_card, read_network
from rstitch.router import problems
from rstitch.router import train as training
from rstitch.router.dapo import Settings
from rstitch.router.plan import Plan
from rstitch.router.problems import check_apart, graded, task_of
from rstitch.router.warm import Shape
from tests.pair import TAU, stitch

COSTS = LinearCosts((0.001, 0.004), (0.0001, 0.0004))


@dataclass(frozen=True)
class Parity(Task):
    """Right is an answer with an even number of characters: as good as a coin, and fixed."""

    name: ClassVar[str] = "parity"
    needs_verifier: ClassVar[bool] = False
    n: int = 8
    solvable: bool = True

    def problems(self) -> list[Problem]:
        return [Problem(f"p{i}", f"How many are {i}?", "") for i in range(self.n)]

    def is_right(self, problem: Problem, text: str, verifier: Verifier, inside: bool) -> bool:
        return self.solvable and len(text) % 2 == 0


def plan(task: Task, **changes: Any) -> Plan:
    every = tuple(task.problems())
    settings = Settings(group=4, problems=2, epochs=1, batches=2, rate=1e-2)
    found = Plan(
        every[:6], every[6:], TAU, seed=3, steps=3, max_tokens=16, chunk=2,
        shape=Shape((4,), epochs=3), settings=settings, price=0.1,
    )  # fmt: skip
    return replace(found, **changes)


def train(out: Path, task: Task | None = None, **changes: Any) -> dict[str, Any]:
    task = task or Parity()
    asked = plan(task, **changes)
    tell = changes.pop("tell", lambda what, done, total: None)
    with Verifier() as verifier:
        return training.train(
            stitch(), asked, graded(task, verifier, asked.train),
            graded(task, verifier, asked.dev), out, {"models": models_of(stitch().models)},
            COSTS, tell,
        )  # fmt: skip


def test_a_whole_training_makes_a_router_that_writes(tmp_path: Path) -> None:
    card = train(tmp_path / "r")
    assert card["data"]["problems"] == 6 and card["data"]["steps"] == 3
    assert read_card(str(tmp_path / "r"))["tau"] == TAU
    rule = make("router", file=str(tmp_path / "r"))
    assert check(stitch().generate("How many?", policy=rule, max_tokens=20).trace) is None


def weights(path: Path) -> list[torch.Tensor]:
    return [layer.weight for layer in read_network(str(path)).layers]


class Killed(Exception):
    pass


def test_killed_anywhere_it_goes_on_to_the_same_router(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a chunk, between a step's state and its record, while it is tried on dev."""
    train(tmp_path / "whole")
    adds = training.Run.add
    for at in (1, 6, 9):
        left = [at]

        def add(self: Any, record: dict[str, Any], left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            adds(self, record)

        out = tmp_path / f"killed-{at}"
        with monkeypatch.context() as patch:
            patch.setattr(training.Run, "add", add)
            with pytest.raises(Killed):
                train(out)
        train(out)
        for ours, theirs in zip(weights(out), weights(tmp_path / "whole"), strict=True):
            assert torch.equal(ours, theirs), f"killed after {at} records"


def test_lambda_zero_is_always_handing_over(tmp_path: Path) -> None:
    card = train(tmp_path / "r", price=0.0, steps=0)
    assert card["dev"]["warm"] == card["dev"]["gate"]


def test_what_nobody_solves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="none of 6 training problems is solved"):
        train(tmp_path / "r", Parity(solvable=False))


def test_another_plan_is_refused_by_its_key(tmp_path: Path) -> None:
    train(tmp_path / "r", steps=0)
    with pytest.raises(BadRun, match="lambda = 0.1, now it is 0.2"):
        train(tmp_path / "r", steps=0, price=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"price": -0.1}, "--lambda is -0.1"), ({"price": float("nan")}, "--lambda is nan"),
     ({"tau": 1.0}, "--tau is 1.0"), ({"minutes": 0}, "--minutes is 0")],
)  # fmt: skip
def test_plans_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        plan(Parity(), **changes)


def test_problems_of_an_evaluation_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever file they lie. The other splits are left out: drawing them takes long."""
    monkeypatch.setattr(problems, "SPLITS", {"train": None, "dev": None})
    dev = task_of("dev").problems()
    line = {"id": "mine", "problem": dev[5].text, "answer": "1"}
    (tmp_path / "p.jsonl").write_text(json.dumps(line) + "\n")
    task = task_of(str(tmp_path / "p.jsonl"), instruction="")
    copied = [replace(dev[5], id="mine")]
    with pytest.raises(BadRequest, match="'mine' is in the evaluation split dev"):
        check_apart(task, copied, [], "none")
    with pytest.raises(BadRequest, match="'mine' is in ours, which the router is chosen on"):
        check_apart(task_of("train"), copied, copied, "ours")
