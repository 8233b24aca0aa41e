"""The seam between an evaluation and a way to answer: a method.

A method says step by step what is to be written and gets it back, so that the same few lines run
one question at a time, where latency is measured, and many in flight, where it is not. What does
not go through the pair's engine (another library's generation) writes its answer itself and asks
nothing.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from rstitch.policy import Policy
from rstitch.prompts import Prompt
from rstitch.types import Sampling, sample_seed

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch


@dataclass(frozen=True, slots=True)
class Question:
    """One problem as a method sees it."""

    index: int
    """Its place in the task."""
    text: str
    sampling: Sampling
    """With the seed of this problem and sample, the same for every method."""
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Something for the pair to write."""

    prompt: Prompt
    policy: Policy
    sampling: Sampling
    max_tokens: int
    n: int = 1
    stop: tuple[str, ...] = ()
    begun: tuple[int, ...] = ()
    raw: bool = False
    """The prompt is fed as it is, without a chat template."""


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a question."""

    text: str
    """The whole reply, thinking included."""
    inside: bool
    """The prompt had opened the thinking block."""
    reason: str
    """"stop", "length", or "failed": it could not be answered, and `extra` has the error."""
    answers: tuple[Answer, ...] = ()
    """Everything that the engine wrote for it, drafts and losing votes included."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What the method itself has to say, for the record: plain values. Without `answers` its
    `slm_tokens`, `llm_tokens`, `lost_tokens` (those on trial in vain) and `discards` are counted,
    and `trace` stands for theirs."""
    later: Callable[[], Written] | None = None
    """Makes the whole of it, when the clock has stopped: what a record needs and an answer not."""

    def whole(self) -> Written:
        return self if self.later is None else self.later()


class Elsewhere(Protocol):
    """Something that is being written outside of the pair's engine."""

    def result(self) -> Any:
        """Wait for it; given back in the place of an answer."""
        ...

    def close(self) -> None:
        """Give it up."""
        ...


Writing = Generator["Ask | Elsewhere", "list[Answer]", Written]


class Pilot(Protocol):
    """A few of the problems, on which a method may settle what it was not given."""

    stitch: Stitch
    questions: list[Question]
    reference: Method
    """What controls are to be like."""

    def written(self, method: Method) -> list[Written]:
        """Its answers, one per question."""
        ...

    def seconds(self, method: Method) -> float:
        """Its mean latency, one at a time."""
        ...


class Method(ABC):
    """A way to answer, with its parameters. Subclasses are frozen dataclasses of plain values."""

    name: ClassVar[str]
    control: ClassVar[bool] = False
    """It is held to the LLM share of the reference."""
    asks: ClassVar[bool] = True
    """It has the pair's engine write, whose traces its answers have; else it leaves its own."""
    batches: ClassVar[bool] = True
    """It answers several questions at once; what asks for nothing answers one after the other, and
    many in flight it has no rate to compare."""

    @abstractmethod
    def write(self, stitch: Stitch, question: Question) -> Writing:
        """Yield what is to be written, get it back, and return the reply in the end."""

    def check(self, stitch: Stitch) -> None:
        """Raise BadRequest or BadPair where this pair lacks what it needs, before anything is
        asked."""
        return

    def fit(self, pilot: Pilot) -> Self:
        """Itself with every parameter settled. No gold answer is seen."""
        return self

    def spec(self) -> dict[str, Any]:
        """Name and parameters, enough to make it again."""
        assert dataclasses.is_dataclass(self)
        return {"name": self.name, **dataclasses.asdict(self)}


def again(sampling: Sampling) -> Sampling:
    """For a second answer to the same question: noise that the first has not used."""
    given = sampling.seeded()
    assert given.seed is not None
    return dataclasses.replace(given, seed=sample_seed(given.seed, 1))


def plainly(question: Question, policy: Policy, text: str | None = None) -> Writing:
    """The question under one policy, and its answer as it is."""
    (answer,) = yield Ask(
        question.text if text is None else text, policy, question.sampling, question.max_tokens
    )
    return as_written(answer, answer)


def as_written(final: Answer, *answers: Answer, **extra: Any) -> Written:
    return Written(final.text, final.starts_thinking, final.reason, answers, extra)
