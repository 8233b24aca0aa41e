"""Scores of hidden states in a worker: the in-process gate's, and what is done where none can be
made. No vLLM is needed for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from rstitch.engine import gate
from rstitch.policy import Policy, make
from rstitch.policy.network import save
from rstitch.types import Sampling, Side
from rstitch.vllm.report import Report
from tests.router.file import WIDTH, network
from tests.vllm.asking import Turn, assert_alike, judged
from tests.vllm.test_judge import PADDED, VOCAB, logits

SEEDED = Sampling(seed=5)


@pytest.fixture
def file(tmp_path: Path) -> str:
    save(tmp_path / "one", network(), {"tau": 0.3, "models": {}})
    save(tmp_path / "two", network(seed=1), {"tau": 0.3, "models": {}})
    return str(tmp_path / "one")


def states(rows: int) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))


def read(policies: list[Policy], hidden: torch.Tensor | None, side: Side) -> list[Report]:
    turns = [Turn(policy, SEEDED) for policy in policies]
    return judged(logits(len(turns), PADDED), turns, side, VOCAB, hidden)


@pytest.mark.parametrize("side", list(Side))
def test_same_proposals_as_in_process(file: str, side: Side) -> None:
    """Two routers and two that score nothing, in one batch."""
    other = str(Path(file).with_name("two"))
    rules = [
        make("entropy", tau=0.3),
        make("router", file=file),
        make("router", file=other, above=-0.5),
        make("random", p=0.5, q=0.5),
        make("router", file=file, above=0.2),
        make("router", file=file),
    ]
    turns = [Turn(rule, SEEDED) for rule in rules]
    raw, hidden = logits(len(rules), PADDED), states(len(rules))
    heard = hidden if side is Side.SLM else None  # of the LLM nobody asks for it
    want = gate.read(raw.clone(), [turn.row(side) for turn in turns], side, VOCAB, heard)
    for report, expected, turn in zip(read(rules, heard, side), want, turns, strict=True):
        found = report.proposal(0, side)
        assert_alike(found, expected, turn)
        asked = side is Side.SLM and turn.policy.name == "router" and expected.entropy > 0.3
        assert (found.signals.get("score", 0.0) != 0) == asked
        assert not report.unscored


@pytest.mark.parametrize("rows", [None, 1, 3])
def test_what_was_not_heard_fails_those_that_need_it(file: str, rows: int | None) -> None:
    hidden = None if rows is None else states(rows)
    reports = read([make("entropy", tau=0.3), make("router", file=file)], hidden, Side.SLM)
    assert [report.unscored for report in reports] == [False, True]


def test_so_does_a_file_that_is_gone_and_one_of_another_width(file: str, tmp_path: Path) -> None:
    gone, wide = str(tmp_path / "two"), str(tmp_path / "wide")
    save(Path(wide), network(width=WIDTH + 1), {"tau": 0.3, "models": {}})
    rules = [make("router", file=one) for one in (gone, file, wide)]
    shutil.rmtree(gone)
    reports = read(rules, states(3), Side.SLM)
    assert [report.unscored for report in reports] == [True, False, True]


def test_a_score_that_is_no_number_is_none(file: str) -> None:
    """The second row is sure, and nobody asks what its score is."""
    reports = read([make("router", file=file)] * 2, states(2) * float("nan"), Side.SLM)
    assert [report.unscored for report in reports] == [True, False]
