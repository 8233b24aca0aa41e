"""The token that made the SLM's answer wrong, in two senses, found by writing on from prefixes.

For a wrong greedy answer y of the SLM alone:

    H1  the first t where y_<t, then the LLM's greedy token, continued by the SLM alone, is right
    H2  the first t where the LLM continuing y_<t is right and continuing y_<=t is wrong

Only positions where the LLM's greedy token differs from y_t are tried. Where it is y_t, H1's
prefix is the beginning of y itself, which goes on as y and is wrong; and the LLM continuing y_<t
begins with y_t, so that both of H2's answers are one. No position after the first is tried: what
follows it goes on from an error. The controls of a harmful token are those before it that were
tried and did no harm, of its kind of token.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from rstitch.evals.methods.base import Ask, Method, Question, Writing, Written
from rstitch.evals.recording.kinds import Kind
from rstitch.evals.recording.scored import partner
from rstitch.policy import make
from rstitch.text import TextStream
from rstitch.types import Side

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch

Trial = Generator[Ask, "list[Answer]", bool]
"""Yields what is to be written, and returns whether the whole answer is right."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong answer of the SLM alone."""

    tokens: tuple[int, ...]
    """As the LLM's ids."""
    tops: tuple[int, ...]
    """The LLM's greedy token before each."""
    kinds: tuple[Kind, ...]
    is_right: Callable[[str, bool], bool] = field(repr=False)
    """Of a text, and whether the prompt had opened the thinking block."""

    @property
    def disagreeing(self) -> list[int]:
        """Positions at which the LLM would have written something else."""
        return [t for t, token in enumerate(self.tokens) if token != self.tops[t]]


@dataclass(frozen=True)
class Search(Method):
    """For the first harmful token in one of the senses; a method, so that many run in flight.

    What it writes has no text; `extra` has the position or None, the controls, and how many
    prefixes were continued.
    """

    side: ClassVar[Side]
    """Who writes on."""
    wrong: Wrong
    known: Mapping[int, bool] = field(default_factory=dict)
    """Of prefixes that were continued before, by position: whether the answer was right."""
    keep: Callable[[int, bool], None] = lambda at, right: None
    """Told of every other one: a long search can be taken up again."""

    @abstractmethod
    def trials(self, stitch: Stitch, question: Question) -> Generator[Ask, list[Answer], Found]:
        """Try positions up to the first harmful one."""

    def write(self, stitch: Stitch, question: Question) -> Writing:
        found = yield from self.trials(stitch, question)
        kinds, at = self.wrong.kinds, found.at
        controls = [] if at is None else [t for t in found.harmless if kinds[t] == kinds[at]]
        kind = None if at is None else kinds[at]
        told = {"at": at, "controls": controls, "kind": kind, "tried": found.tried}
        return Written("", False, "stop", extra=told)

    def continued(
        self, stitch: Stitch, question: Question, at: int, prefix: Sequence[int]
    ) -> Trial:
        """Whether an answer that begins so, and is written on by `side` alone, is right. `at`:
        a position that no other prefix of the search has."""
        if at in self.known:
            return self.known[at]
        rule, begun = make(self.side.label), self._own(stitch, prefix)
        left = question.max_tokens - len(prefix)
        if left > 0 and not self._ended(stitch, prefix, begun):
            (answer,) = yield Ask(question.text, rule, question.sampling, left, begun=tuple(prefix))
            begun += [p.token for p in answer.trace.proposals if p.keep]
        given = stitch.prompts(question.text, policy=rule)
        inside = stitch.starts_thinking(given)
        right = self.wrong.is_right(text_of(stitch, self.side, begun), inside)
        self.keep(at, right)
        return right

    def _own(self, stitch: Stitch, prefix: Sequence[int]) -> list[int]:
        read = [partner(stitch, self.side, token, Side.LLM) for token in prefix]
        assert None not in read, f"{prefix} has a token that the {self.side.name} cannot read"
        return [token for token in read if token is not None]

    def _ended(self, stitch: Stitch, prefix: Sequence[int], own: Sequence[int]) -> bool:
        """An end of text on either side."""
        ends = stitch.ends
        return bool(prefix) and (prefix[-1] in ends[Side.LLM] or own[-1] in ends[self.side])


@dataclass(slots=True)
class Found:
    """What came of a search."""

    at: int | None = None
    harmless: list[int] = field(default_factory=list)
    tried: int = 0


class Turning(Search):
    """H1: the LLM's token there, and the SLM by itself gets it right."""

    name: ClassVar[str] = "h1"
    side: ClassVar[Side] = Side.SLM

    def trials(self, stitch: Stitch, question: Question) -> Generator[Ask, list[Answer], Found]:
        found, wrong = Found(), self.wrong
        for t in wrong.disagreeing:
            if partner(stitch, Side.SLM, wrong.tops[t], Side.LLM) is None:
                continue  # the SLM could not read on
            prefix = (*wrong.tokens[:t], wrong.tops[t])
            found.tried += 1
            if (yield from self.continued(stitch, question, t, prefix)):
                found.at = t
                break
            found.harmless.append(t)
        return found


class Losing(Search):
    """H2: the LLM could still have got it right before that token, and no longer after it."""

    name: ClassVar[str] = "h2"
    side: ClassVar[Side] = Side.LLM

    def trials(self, stitch: Stitch, question: Question) -> Generator[Ask, list[Answer], Found]:
        found, wrong = Found(), self.wrong
        places = wrong.disagreeing
        if not places:
            return found
        found.tried, start = 1, places[0]
        before = yield from self.continued(stitch, question, start, wrong.tokens[:start])
        for t in places:
            found.tried += 1
            after = yield from self.continued(stitch, question, t + 1, wrong.tokens[: t + 1])
            if before and not after:
                found.at = t
                break
            if before:
                found.harmless.append(t)
            before = after
        return found


def text_of(stitch: Stitch, side: Side, ids: Sequence[int]) -> str:
    """The text of a whole answer, as the engine makes it: without the token that ends it."""
    tokenizer = stitch.decoders[side]
    assert tokenizer is not None
    if ids and ids[-1] in stitch.ends[side]:
        ids = ids[:-1]
    stream = TextStream(tokenizer)
    return "".join(map(stream.push, ids)) + stream.finish()
