"""Runs methods on a pair: one question at a time, or many in flight.

A question that cannot be answered (it does not fit a context, a token has no partner) is a wrong
answer that says why, not the end of a run.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from rstitch.errors import RStitchError
from rstitch.evals.methods.base import Ask, Elsewhere, Method, Question, Writing, Written

if TYPE_CHECKING:
    from rstitch.api import Answer, Stitch
    from rstitch.stream import Stream

K = TypeVar("K")


def one(stitch: Stitch, method: Method, question: Question) -> tuple[Written, float]:
    """The reply, and seconds from accepted (a text) to its last token. Raises what goes wrong."""
    started = time.perf_counter()
    with closing(method.write(stitch, question)) as writing:
        answers: list[Answer] | None = None
        while True:
            try:
                ask = next(writing) if answers is None else writing.send(answers)
            except StopIteration as done:
                seconds = time.perf_counter() - started
                written: Written = done.value
                return written.whole(), seconds
            answers = [stream.result() for stream in streams(stitch, ask)]


def tried(stitch: Stitch, method: Method, question: Question) -> tuple[Written, float]:
    """As `one`, or what went wrong as a reply."""
    started = time.perf_counter()
    try:
        return one(stitch, method, question)
    except RStitchError as error:
        return failed(error), time.perf_counter() - started


def failed(error: RStitchError) -> Written:
    return Written("", False, "failed", extra={"error": str(error)})


def many(
    stitch: Stitch, jobs: Iterable[tuple[K, Method, Question]], in_flight: int
) -> Iterator[tuple[K, Written, float]]:
    """Replies as they are finished, oldest first; seconds are those of a reply among others.

    As many again are asked ahead, so that a slow one at the front leaves no row empty.
    """
    waiting: deque[_Job[K]] = deque()
    source = iter(jobs)
    try:
        while True:
            while len(waiting) < 2 * in_flight and (given := next(source, None)) is not None:
                yield from _moved(stitch, _Job(given[0], given[1].write(stitch, given[2])), waiting)
            if not waiting:
                return
            yield from _moved(stitch, waiting.popleft(), waiting)
    finally:
        for job in waiting:
            job.close()


@dataclass(slots=True)
class _Job(Generic[K]):
    """One question that is being answered."""

    key: K
    writing: Writing
    started: float = field(default_factory=time.perf_counter)
    open: list[Stream] | list[Elsewhere] = field(default_factory=list)

    def close(self) -> None:
        for stream in self.open:
            stream.close()
        self.writing.close()


def _moved(
    stitch: Stitch, job: _Job[K], waiting: deque[_Job[K]]
) -> Iterator[tuple[K, Written, float]]:
    """Take a job one step on: back among those that wait, or finished."""
    try:
        answers = [stream.result() for stream in job.open]
        ask = job.writing.send(answers) if job.open else next(job.writing)
        job.open = streams(stitch, ask)
    except StopIteration as done:
        seconds = time.perf_counter() - job.started
        yield job.key, done.value.whole(), seconds
    except RStitchError as error:
        job.close()
        yield job.key, failed(error), time.perf_counter() - job.started
    else:
        waiting.append(job)


def streams(stitch: Stitch, ask: Ask | Elsewhere) -> list[Stream] | list[Elsewhere]:
    if not isinstance(ask, Ask):
        return [ask]
    return stitch.streams(
        ask.prompt,
        n=ask.n,
        policy=ask.policy,
        sampling=ask.sampling,
        max_tokens=ask.max_tokens,
        stop=ask.stop,
        begun=ask.begun,
        raw=ask.raw,
    )
