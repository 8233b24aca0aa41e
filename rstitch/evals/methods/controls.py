"""Random routing at the reference's LLM share: what an uncertainty signal has to beat.

Four ways to know nothing of an answer: a coin per token, runs as long as the gate's, hand-offs
where the gate had them in another answer, and whole answers by chance. Shares are matched on the
pilot; whether they match in the end is told with the results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from rstitch.evals.methods.base import Method, Pilot, Question, Writing, Written, plainly
from rstitch.evals.methods.ruled import Ruled
from rstitch.policy import make
from rstitch.types import Proposal, Side

if TYPE_CHECKING:
    from rstitch.api import Stitch

CLOSE = 0.003
"""Share on the pilot that is near enough; a point is promised of the whole."""
TRIES = 5
GOLDEN = (math.sqrt(5) - 1) / 2

M = TypeVar("M", bound=Method)


@dataclass(frozen=True, slots=True)
class Coin(Method):
    """Each position goes to the LLM with probability p."""

    name: ClassVar[str] = "coin"
    control: ClassVar[bool] = True

    p: float | None = None

    def fit(self, pilot: Pilot) -> Self:
        if self.p is not None:
            return self
        return matched(pilot, share(pilot.written(pilot.reference)), lambda p: replace(self, p=p))

    def write(self, stitch: Stitch, question: Question) -> Writing:
        return plainly(question, make("random", p=_given(self.p), q=1.0))


@dataclass(frozen=True, slots=True)
class TwoState(Method):
    """The SLM is left with the gate's own probability p, the LLM with its q."""

    name: ClassVar[str] = "two-state"
    control: ClassVar[bool] = True

    p: float | None = None
    q: float | None = None

    def fit(self, pilot: Pilot) -> Self:
        if self.p is not None and self.q is not None:
            return self
        p, q = rates(pilot.written(pilot.reference))
        return matched(pilot, p, lambda p: replace(self, p=p, q=q))

    def write(self, stitch: Stitch, question: Question) -> Writing:
        return plainly(question, make("random", p=_given(self.p), q=_given(self.q)))


@dataclass(frozen=True, slots=True)
class Elsewhere(Method):
    """The gate's hand-offs in another problem's answer, over again where this one is longer."""

    name: ClassVar[str] = "elsewhere"
    control: ClassVar[bool] = True

    turns: tuple[tuple[int, ...], ...] = ()
    """Of each pilot answer its length, then the positions at which the writer changed."""
    problems: tuple[int, ...] = ()
    """Whose answers they were."""

    def fit(self, pilot: Pilot) -> Self:
        if self.turns:
            return self
        written = zip(pilot.questions, pilot.written(pilot.reference), strict=True)
        found = [(question.index, turns_of(one)) for question, one in written if one.answers]
        turns, problems = tuple(t for _, t in found), tuple(i for i, _ in found)
        return replace(self, turns=turns, problems=problems)

    def write(self, stitch: Stitch, question: Question) -> Writing:
        others = [t for t, i in zip(self.turns, self.problems, strict=True) if i != question.index]
        if not others:
            return plainly(question, make("slm"))
        period, *at = others[question.index * 7919 % len(others)]
        return plainly(question, make("turns", at=at, period=period))


@dataclass(frozen=True, slots=True)
class Requests(Method):
    """Whole answers by the LLM, as evenly spread over the problems as a share allows."""

    name: ClassVar[str] = "requests"
    control: ClassVar[bool] = True

    p: float | None = None
    """Share of problems for the LLM."""

    def fit(self, pilot: Pilot) -> Self:
        if self.p is not None:
            return self
        target = share(pilot.written(pilot.reference))
        slm, llm = (_length(pilot.written(Ruled(make(name)))) for name in ("slm", "llm"))
        return replace(self, p=target * slm / (target * slm + (1 - target) * llm))

    def write(self, stitch: Stitch, question: Question) -> Writing:
        lucky = (0.5 + question.index * GOLDEN) % 1.0 < _given(self.p)
        return plainly(question, make("llm" if lucky else "slm"))


# -- what a reference did -------------------------------------------------------------------------


def share(written: Sequence[Written]) -> float:
    """LLM tokens over all kept tokens."""
    usages = [answer.usage for one in written for answer in one.answers]
    return sum(u.llm_tokens for u in usages) / max(1, sum(u.tokens for u in usages))


def rates(written: Sequence[Written]) -> tuple[float, float]:
    """(p, q): how often an SLM proposal passed control on, and an LLM token."""
    left, asked = dict.fromkeys(Side, 0), dict.fromkeys(Side, 0)
    for proposal in _proposals(written):
        asked[proposal.side] += 1
        left[proposal.side] += proposal.next_side != proposal.side
    p, q = (left[side] / max(1, asked[side]) for side in (Side.SLM, Side.LLM))
    return p, q


def turns_of(written: Written) -> tuple[int, ...]:
    """(length, positions at which another side wrote than before, the SLM being first)."""
    kept = [p for p in _proposals([written]) if p.keep]
    before = [Side.SLM, *(p.side for p in kept)]
    changed = [i for i, p in enumerate(kept) if p.side != before[i]]
    return (len(kept), *changed)


def matched(pilot: Pilot, p: float, with_p: Callable[[float], M]) -> M:
    """The method whose LLM share on the pilot is the reference's: p's odds are moved towards it."""
    target = share(pilot.written(pilot.reference))
    method = with_p(p)
    for _ in range(TRIES):
        got = share(pilot.written(method))
        if abs(got - target) <= CLOSE or not 0 < got < 1 or not 0 < target < 1 or not 0 < p < 1:
            break
        odds = p / (1 - p) * (target / (1 - target)) / (got / (1 - got))
        p = odds / (1 + odds)
        method = with_p(p)
    return method


def _proposals(written: Sequence[Written]) -> list[Proposal]:
    return [p for one in written for answer in one.answers for p in answer.trace.proposals]


def _length(written: Sequence[Written]) -> float:
    return sum(a.usage.tokens for one in written for a in one.answers) / max(1, len(written))


def _given(value: float | None) -> float:
    assert value is not None, "used before it was fitted"
    return value
