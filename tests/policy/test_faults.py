"""A policy whose own code fails: its request ends with a line that names it, no other does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from rstitch.engine.request import Request
from rstitch.errors import BadPolicy
from rstitch.policy import Policy, make
from rstitch.policy.base import Decision, Signals, hand_off
from rstitch.types import Failed, Finished, Side
from tests.models import assert_clean, engine


@dataclass(frozen=True)
class Faulty(Policy):
    """Does as R-Stitch does, until one of its parts is replaced."""

    name: ClassVar[str] = "faulty"

    def initial_state(self) -> tuple[float, ...]:
        return (0.75,)

    @classmethod
    def decide(cls, signals: Signals, state: Tensor) -> Decision:
        unsure = signals.entropy > state[:, 0]
        return hand_off(signals, unsure, ~unsure, state)


def raises(*_: Any) -> Any:
    raise ZeroDivisionError("oops")


def elsewhere(signals: Signals, state: Tensor) -> Decision:
    return Decision(signals.side + 5, torch.ones_like(signals.side).bool(), state)


def too_few(signals: Signals, state: Tensor) -> Decision:
    return Decision(signals.side[:0], torch.ones_like(signals.side).bool(), state)


def forgets(signals: Signals, state: Tensor) -> Decision:
    return Decision(signals.side, torch.ones_like(signals.side).bool(), state[:, :0])


def faulty(**parts: Any) -> Policy:
    return type("Faulty", (Faulty,), parts)()  # type: ignore[no-any-return]


def decides(function: Callable[..., Any]) -> Policy:
    return faulty(decide=classmethod(lambda _, signals, state: function(signals, state)))


def confirms(_: Policy, scores: Sequence[float]) -> int:
    return len(scores) + 1


FAULTS = {
    r"decide\(\) raised ZeroDivisionError: oops": lambda: decides(raises),
    r"decide\(\) raised ValueError: next_side is [56]; it must be 0 or 1": lambda: decides(
        elsewhere
    ),
    r"next_side has the shape \(0,\); it must be \(\d,\)": lambda: decides(too_few),
    r"state has the shape \(\d, 0\); it must be \(\d, 1\)": lambda: decides(forgets),
    r"score\(\) raised ZeroDivisionError: oops": lambda: faulty(reads=("score",), score=raises),
    r"score\(\) raised NotImplementedError": lambda: faulty(reads=("score",)),
    r"confirm\(\) raised ZeroDivisionError: oops": lambda: faulty(reads=("span",), confirm=raises),
    r"confirm\(\) says that \d+ of \d+ tokens stay": lambda: faulty(
        reads=("span",), confirm=confirms
    ),
}


@pytest.mark.parametrize("told", FAULTS)
def test_it_alone_ends(told: str) -> None:
    """One faulty request between two sound ones, in the same passes."""
    prompts = dict.fromkeys(Side, (5, 6, 7))
    sound = Request(prompts, make("entropy", tau=0.75), max_tokens=12)
    want = ends([sound])["r0"]
    two = engine(max_rows=3)
    found = ends([sound, Request(prompts, FAULTS[told](), max_tokens=12), sound], two)
    assert_clean(two)
    assert isinstance(found["r1"], Failed)
    with pytest.raises(BadPolicy, match=f"^policy 'faulty': (.* raised .*)?{told}"):
        raise found["r1"].error
    for name in ("r0", "r2"):
        assert isinstance(found[name], Finished) and isinstance(want, Finished)
        assert found[name].usage.tokens == want.usage.tokens == 12


def ends(requests: list[Request], one: Any = None) -> dict[str, Finished | Failed]:
    one = one or engine(max_rows=3)
    for request in requests:
        one.submit(request)
    found = {}
    while not one.idle:
        for event in one.step():
            if isinstance(event, Finished | Failed):
                found[event.request] = event
    return found


def test_the_cause_is_kept_for_those_who_debug() -> None:
    prompts = dict.fromkeys(Side, (5, 6, 7))
    (end,) = ends([Request(prompts, decides(raises), max_tokens=3)]).values()
    assert isinstance(end, Failed)
    assert isinstance(end.error.__cause__, ZeroDivisionError)
    assert end.forwards, "the passes until then are told too"
