"""Traces of the latest answers, so that what a page showed can be checked by `rstitch explain`.

Kept only for answers that came with provenance, only while there is a page, and only so many.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

from rstitch import trace
from rstitch.engine.request import Request, sample_ids
from rstitch.server.keys import Key
from rstitch.trace import Trace
from rstitch.types import Event, Token, sample_seed

REPLIES = 32
PROPOSALS = 50_000
"""Of all replies together, about 50 MB; the oldest go first."""


class Traces:
    """By a reply's id; written down while the answers are."""

    def __init__(self, on: bool, most: int = PROPOSALS) -> None:
        self.on = on
        self.most = most
        self._kept: dict[str, tuple[Key, list[Trace]]] = {}
        """From the oldest to the latest."""
        self._size = 0
        """Proposals of all of them."""

    def begin(self, reply: str, key: Key, requests: Sequence[Request], model: str) -> None:
        """A reply to this key's owner, of the model as it was asked for."""
        if not self.on:
            return
        asked = [(request, index) for request in requests for index in range(request.n)]
        names = sample_ids(reply, len(asked))
        found = [_trace(name, *one, model) for name, one in zip(names, asked, strict=True)]
        self._kept[reply] = key, found
        self._shrink()

    def add(self, reply: str, index: int, event: Event) -> None:
        """What became of the index-th answer of a reply; one that is not kept is passed over."""
        if reply not in self._kept:
            return
        self._kept[reply][1][index].take(event)
        self._size += isinstance(event, Token)
        self._shrink()

    def found(self, reply: str, key: Key) -> list[Trace] | None:
        """The reply's answers so far as they are written, to which nothing is added any more; None
        where it is not kept any more, never was, or is somebody else's."""
        owner, found = self._kept.get(reply, (None, []))
        return [_as_it_is(one) for one in found] if owner == key else None

    def _shrink(self) -> None:
        while len(self._kept) > REPLIES or self._size > self.most:
            _, gone = self._kept.pop(next(iter(self._kept)))
            self._size -= sum(len(one.proposals) for one in gone)


def written(found: Sequence[Trace]) -> str:
    """As a file. It takes a while, and is for another thread than that of the
    events."""
    file = io.StringIO()
    trace.write(found, file)
    return file.getvalue()


def _as_it_is(one: Trace) -> Trace:
    lists = list(one.proposals), list(one.texts), list(one.forwards)
    return replace(one, proposals=lists[0], texts=lists[1], forwards=lists[2])


def _trace(name: str, request: Request, index: int, model: str) -> Trace:
    """Says which model was asked for, not where on the server its files lie."""
    seed = request.sampling.seed
    assert seed is not None, "requests of the server are seeded"
    return Trace(
        id=name,
        policy=request.policy.spec(),
        sampling=replace(request.sampling, seed=sample_seed(seed, index)),
        prompts=dict(request.prompts),
        meta={"model": model},
    )
