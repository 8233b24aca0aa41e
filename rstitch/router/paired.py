"""Paired greedy rollouts: does handing over at this position change whether the answer is right?

For every position of a greedy answer at which the router may be asked (H > tau on the SLM's side),
the answer is written a second time from there with the other action, and everything after it by the
same rule. Two answers that differ in one decision say what that decision was worth, with none of
the noise that a reward for a whole answer has.

Where the LLM's token is the SLM's and the LLM hands back at once, both answers go on from the same
text under the same rule, so they are one, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rstitch.evals.recording.harmful import text_of
from rstitch.evals.recording.scored import own_ids, partner
from rstitch.policy.base import Policy
from rstitch.router.problems import Graded
from rstitch.types import Proposal, Sampling, Side

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch
    from rstitch.stream import Stream


@dataclass(frozen=True, slots=True)
class Asked:
    """A position at which the rule could have gone either way."""

    position: int
    token: int
    """What the SLM proposed, as the LLM's id."""
    handed: bool
    """What the rule did: handed over, or kept."""
    same: bool
    """The other action leads to the same answer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One such position, and whether the answer is right with either action."""

    position: int
    handed: bool
    right_kept: bool
    right_handed: bool


@dataclass(frozen=True, slots=True)
class Paired:
    """One answer, and what each of its decisions was worth."""

    problem: int
    """Index in the set."""
    tokens: tuple[int, ...]
    """The answer, as the LLM's ids."""
    right: bool
    pairs: tuple[Pair, ...]


def asked(stitch: Stitch, proposals: Sequence[Proposal], tau: float) -> Iterator[Asked]:
    """Where the SLM was unsure, in order. A token that the LLM does not have is left out."""
    for at, proposal in enumerate(proposals):
        if proposal.side is not Side.SLM or proposal.entropy <= tau:
            continue
        token = partner(stitch, Side.LLM, proposal.token, Side.SLM)
        if token is None:
            continue
        same = False
        if not proposal.keep and at + 1 < len(proposals):
            llm = proposals[at + 1]
            same = llm.token == token and llm.next_side is Side.SLM
        yield Asked(proposal.position, token, not proposal.keep, same)


def collect(
    stitch: Stitch,
    problems: Sequence[Graded],
    first: int,
    rule: Policy,
    from_llm: Policy,
    tau: float,
    max_tokens: int,
) -> list[Paired]:
    """Of some problems, the first of which is number `first` of the set.

    rule writes the answers; from_llm is the same rule, except that the LLM writes the first token.
    """
    greedy = Sampling(seed=0)
    texts = [one.text for one in problems]
    answers = stitch.batch(texts, policy=rule, max_tokens=max_tokens, sampling=greedy)
    wholes = [_whole(stitch, answer) for answer in answers]
    rights = [
        one.is_right(text_of(stitch, Side.LLM, ids), answer.starts_thinking)
        for one, ids, answer in zip(problems, wholes, answers, strict=True)
    ]
    places = [list(asked(stitch, answer.trace.proposals, tau)) for answer in answers]
    trials = [
        _Trial(i, place)
        for i, found in enumerate(places)
        for place in found
        if not place.same and place.position < len(wholes[i]) + (not place.handed)
    ]
    for trial in trials:
        trial.begin(stitch, texts[trial.index], wholes[trial.index], rule, from_llm, max_tokens)
    others = {
        (trial.index, trial.place.position): problems[trial.index].is_right(
            text_of(stitch, Side.LLM, trial.whole(stitch)), answers[trial.index].starts_thinking
        )
        for trial in trials
    }
    return [
        Paired(first + i, tuple(wholes[i]), rights[i], _pairs(i, places[i], rights[i], others))
        for i in range(len(problems))
    ]


def _pairs(
    index: int, places: Sequence[Asked], right: bool, others: dict[tuple[int, int], bool]
) -> tuple[Pair, ...]:
    found = []
    for place in places:
        other = others.get((index, place.position), right)
        kept, handed = (other, right) if place.handed else (right, other)
        found.append(Pair(place.position, place.handed, kept, handed))
    return tuple(found)


def _whole(stitch: Stitch, answer: Answer) -> list[int]:
    return own_ids(stitch, Side.LLM, [p for p in answer.trace.proposals if p.keep])


class _Trial:
    """The answer once more, with the other action at one position."""

    def __init__(self, index: int, place: Asked) -> None:
        self.index, self.place = index, place
        self.prefix: list[int] = []
        self.stream: Stream | None = None

    def begin(
        self,
        stitch: Stitch,
        text: str,
        whole: Sequence[int],
        rule: Policy,
        from_llm: Policy,
        max_tokens: int,
    ) -> None:
        at, place = self.place.position, self.place
        self.prefix = [*whole[:at], place.token] if place.handed else list(whole[:at])
        left = max_tokens - len(self.prefix)
        ends = stitch.ends[Side.LLM]
        if left < 1 or (self.prefix and self.prefix[-1] in ends):
            return
        self.stream = stitch.stream(
            text,
            policy=rule if place.handed else from_llm,
            sampling=Sampling(seed=0),
            max_tokens=left,
            begun=self.prefix,
        )

    def whole(self, stitch: Stitch) -> list[int]:
        rest = [] if self.stream is None else _whole(stitch, self.stream.result())
        return self.prefix + rest
