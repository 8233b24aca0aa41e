"""Hand-offs at given positions: exactly there, over and over, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.errors import BadRequest
from rstitch.explain import check
from rstitch.policy import make
from rstitch.types import Side
from tests.pair import QUESTION, stitch


def writers(at: list[int], period: int = 0, tokens: int = 14) -> str:
    """Who wrote each kept token: s or l."""
    policy = make("turns", at=at, period=period)
    trace = stitch().generate(QUESTION, policy=policy, max_tokens=tokens).trace
    assert check(trace) is None
    return "".join(p.side.label[0] for p in trace.proposals if p.keep)


@pytest.mark.parametrize(
    ("at", "period", "expected"),
    [
        ([], 0, "ssssssssssssss"),
        ([0], 0, "llllllllllllll"),
        ([3], 0, "ssslllllllllll"),
        ([3, 5], 0, "sssllsssssssss"),
        ([3, 5], 6, "sssllssssllsss"),
        ([0, 1], 4, "lssslssslsssls"),
        ([2], 3, "sslsslsslsslss"),
    ],
)
def test_who_writes_which_token(at: list[int], period: int, expected: str) -> None:
    assert writers(at, period) == expected


def test_a_hand_off_costs_a_discard_as_the_gate_s_does() -> None:
    policy = make("turns", at=[3, 5])
    usage = stitch().generate(QUESTION, policy=policy, max_tokens=8).usage
    assert (usage.discards, usage.handoffs, usage.llm_tokens) == (1, 2, 2)


def test_who_starts() -> None:
    starts = [make("turns", at=at).start() for at in ([], [0], [0, 2], [1])]
    assert starts == [Side.SLM, Side.LLM, Side.LLM, Side.SLM]


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ([3, 3], "its positions must rise"),
        ([-1], "at is -1; it must be a whole number, 0 to 16777216"),
        ([0.5], "at is 0.5"),
        (3, "it must be a list of positions"),
    ],
)
def test_wrong_positions_are_refused(at: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        make("turns", at=at)
