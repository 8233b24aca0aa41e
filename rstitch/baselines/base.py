"""What a baseline is: another way to write an answer with the same two models, to compare with.

A policy says who writes the next token, and each token is asked for once. What is compared with it
here asks for tokens on trial (drafts, trial answers), so it runs on the engine's runners by itself,
one answer at a time, while the engine is idle. `write` is the algorithm; `Writing` is one answer
being written; `Written` is what came of it and what it took.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rstitch.baselines.work import Kept, Work
from rstitch.engine.engine import InProcessEngine
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import Policy, make
from rstitch.types import SHIFTS, FinishReason, Forward, Sampling, Side

if TYPE_CHECKING:
    from rstitch.api import Stitch


class Baseline(ABC):
    """One method with its parameters. Subclasses are frozen dataclasses of plain values."""

    name: ClassVar[str]
    sides: ClassVar[tuple[Side, ...]] = (Side.SLM, Side.LLM)
    """Who takes part: prompts are needed for these."""

    @abstractmethod
    def write(self, work: Work) -> Iterator[Kept]:
        """Keep tokens until the work has ended, yielding each."""
        ...

    def check(self, engine: InProcessEngine) -> None:
        """Raise BadRequest where this pair lacks what the method needs."""
        return

    def fitted(self, stitch: Stitch) -> Self:
        """Itself, with what depends on the pair's tokenizer settled."""
        return self

    def spec(self) -> dict[str, Any]:
        """Name and parameters, as they stand in a record."""
        assert dataclasses.is_dataclass(self)
        return {"name": self.name, **dataclasses.asdict(self)}

    def policy(self) -> Policy:
        """One with the same sides, by which prompts are made and checked; it is never asked."""
        return make("llm") if self.sides == (Side.LLM,) else make("entropy", tau=0.5)


@dataclass(frozen=True, slots=True)
class Written:
    """An answer, finished or not, and what it took."""

    method: Mapping[str, Any]
    tokens: tuple[int, ...]
    """Ids of the LLM."""
    sides: tuple[Side, ...]
    """Who wrote each; what the SLM drafted and the LLM accepted is the SLM's."""
    text: str
    reason: FinishReason
    seconds: float
    """From accepted to now, or to the last token."""
    sampling: Sampling = field(default_factory=Sampling)
    """With the seed that was used."""
    forwards: tuple[Forward, ...] = ()
    """Every pass, those over tokens that were not kept included."""
    drafted: int = 0
    accepted: int = 0
    """Drafted tokens that the LLM accepted."""
    rejected: int = 0
    """Drafted tokens that it rejected; those behind them were not judged."""
    deferred: int = 0
    """Those among them that it would have rejected, but for a loose rule."""
    trials: int = 0
    """Trial answers; the last of them is the answer where `exited`."""
    trial_tokens: int = 0
    """Tokens written in trials that were rejected."""
    trial_seconds: float = 0.0
    """Seconds of rejected trials."""
    exited: bool = False
    """The thought was closed early."""

    @property
    def llm_passes(self) -> int:
        return sum(f.side is Side.LLM for f in self.forwards)

    @property
    def tokens_per_pass(self) -> float:
        """Kept tokens for each pass of the LLM, prefills included."""
        return len(self.tokens) / self.llm_passes if self.llm_passes else 0.0

    @property
    def acceptance(self) -> float:
        """Of the drafted tokens that were judged: the alpha of Leviathan et al., whatever k is."""
        judged = self.accepted + self.rejected
        return self.accepted / judged if judged else 0.0

    @property
    def check_share(self) -> float:
        """Of the seconds, those of rejected trials."""
        return self.trial_seconds / self.seconds if self.seconds else 0.0


class Writing(Iterator[Kept]):
    """One answer being written: an iterator over its tokens. Its end, `close` and letting go of it
    free its rows."""

    def __init__(
        self,
        baseline: Baseline,
        engine: InProcessEngine,
        prompts: Mapping[Side, tuple[int, ...]],
        sampling: Sampling | None = None,
        *,
        max_tokens: int = 512,
        stop: tuple[str, ...] = (),
        stop_token_ids: frozenset[int] = frozenset(),
        ignore_eos: bool = False,
    ) -> None:
        """The options are those of `engine.request.Request`.

        Raises BadRequest where the answer can never be written, or others are being written.
        """
        if not engine.idle:
            raise BadRequest("answers are being written; run a baseline when none is in flight")
        seeded = (sampling or Sampling()).seeded()
        refuse_shifts(baseline.name, seeded)
        request = Request(
            prompts, baseline.policy(), seeded, max_tokens, stop, stop_token_ids, ignore_eos
        )
        engine.check(request)
        baseline.check(engine)
        self._baseline, self._work = baseline, Work(engine, request)
        self._seconds: float | None = None
        self._tail = ""
        self._texts: list[str] = []
        self._tokens = _tokens(baseline, self._work)

    def __next__(self) -> Kept:
        try:
            kept = next(self._tokens)
        except BaseException:
            self.close()
            raise
        self._texts.append(kept.text)
        if self._work.ended:
            self.close()
        return kept

    def close(self) -> None:
        """Write no more. What there is stays."""
        self._tokens.close()
        if self._seconds is None:
            self._seconds = self._now()
            self._tail = self._work.one.text.finish() if self._work.one.text else ""

    def result(self) -> Written:
        """Write to the end."""
        for _ in self:
            pass
        return self.written

    def _now(self) -> float:
        return self._work.engine.clock() - self._work.one.accepted

    @property
    def written(self) -> Written:
        """What there is so far; cancelled, unless it has ended."""
        work = self._work
        return Written(
            method=self._baseline.spec(),
            tokens=tuple(work.tokens),
            sides=tuple(work.one.sides),
            text="".join(self._texts) + self._tail,
            reason=work.finish or "cancelled",
            seconds=self._now() if self._seconds is None else self._seconds,
            sampling=work.request.sampling,
            forwards=tuple(work.one.forwards),
            trial_seconds=work.trial_seconds,
            exited=bool(work.counts["exited"]),
            **_counted(work.counts),
        )


def refuse_shifts(name: str, sampling: Sampling) -> None:
    """Raise BadRequest for a bias or penalties, which only the engine's own answers know."""
    asked = [one for one in SHIFTS if getattr(sampling, one)]
    if asked:
        raise BadRequest(f"{name} knows no {asked[0]}; leave it out")


def need_whole(name: str, value: object, least: int) -> None:
    """Raise BadRequest for a parameter that is no whole number from `least` on."""
    if not isinstance(value, int) or value < least:
        raise BadRequest(f"{name} is {value!r}; it must be a whole number from {least} on")


def _counted(counts: Counter[str]) -> dict[str, int]:
    names = ("drafted", "accepted", "rejected", "deferred", "trials", "trial_tokens")
    return {name: counts[name] for name in names}


def _tokens(baseline: Baseline, work: Work) -> Generator[Kept]:
    """Apart from `Writing`, so that letting go of that ends this."""
    try:
        yield from baseline.write(work)
    finally:
        work.close()
