"""Answers until a moment: what is being written then is given up, and no promise of time broken.

`drive` waits for the end of an answer, which may be minutes away; here the clock is looked at
between two tokens.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from rstitch.errors import RStitchError
from rstitch.evals.methods.base import Question
from rstitch.policy import Policy

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch
    from rstitch.stream import Stream

K = TypeVar("K")


class OutOfTime(Exception):
    """The moment came before the last answer."""


@dataclass(frozen=True, slots=True)
class Job(Generic[K]):
    """One question under one policy."""

    key: K
    question: Question
    policy: Policy


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, or why there is none."""

    answer: Answer | None
    error: str
    seconds: float
    """From the question as text to the last token; a latency only where nothing else is written."""


def answered(
    stitch: Stitch, jobs: Iterable[Job[K]], in_flight: int, until: float
) -> Generator[tuple[K, Outcome], None, None]:
    """Outcomes in the order of the jobs. until: on `time.perf_counter`, when OutOfTime is raised.

    A question that cannot be answered is an outcome, as in `drive`. What is not finished when this
    ends, in whichever way, is cancelled.
    """
    waiting: deque[tuple[Job[K], float, Stream | RStitchError]] = deque()
    source = iter(jobs)
    try:
        while True:
            while len(waiting) < in_flight and (job := next(source, None)) is not None:
                waiting.append((job, time.perf_counter(), _opened(stitch, job)))
            if not waiting:
                return
            job, started, stream = waiting[0]
            outcome = _finished(stream, started, until)
            waiting.popleft()
            yield job.key, outcome
    finally:
        for _, _, stream in waiting:
            if not isinstance(stream, RStitchError):
                stream.close()


def _opened(stitch: Stitch, job: Job[K]) -> Stream | RStitchError:
    question = job.question
    try:
        return stitch.stream(
            question.text,
            policy=job.policy,
            sampling=question.sampling,
            max_tokens=question.max_tokens,
        )
    except RStitchError as error:
        return error


def _finished(stream: Stream | RStitchError, started: float, until: float) -> Outcome:
    try:
        if isinstance(stream, RStitchError):
            raise stream
        if time.perf_counter() > until:
            raise OutOfTime
        for _ in stream:
            if time.perf_counter() > until:
                raise OutOfTime
        answer = stream.result()
    except RStitchError as error:
        return Outcome(None, str(error), time.perf_counter() - started)
    return Outcome(answer, "", time.perf_counter() - started)
