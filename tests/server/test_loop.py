"""How events reach whoever waits for them: few pieces of many tokens, and an end at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from rstitch.engine.request import Engine, Request
from rstitch.server.loop import GAP, SHARE, Inbox, Loop
from rstitch.types import Failed, Finished, Proposal, Side, Token, Usage
from tests.engine.asking import ask
from tests.server.virtual import run

Clock = Callable[[], float]


class Deaf:
    """An engine that only says what its requests are called."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def submit(self, request: Request) -> str:
        return "r0"

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)


def inbox(n: int = 1) -> Inbox:
    return Loop(cast(Engine, Deaf()), lambda _: None, lambda: None).open([ask(n=n)])


def token(name: str = "r0") -> Token:
    return Token(name, Proposal(0, 5, Side.SLM, True, Side.SLM, 0.1, -0.1, {}), "a")


def finished(name: str = "r0") -> Finished:
    return Finished(name, "stop", Usage(1, 1, 1, 1, 1, 0, 1.0), "")


def bursts(events: list[tuple[float, Any]], n: int = 1) -> list[tuple[float, int]]:
    """When whoever waits was given something, and how many events; each event comes at a time."""

    async def main(clock: Clock) -> list[tuple[float, int]]:
        one, found = inbox(n), list[tuple[float, int]]()
        loop = asyncio.get_running_loop()
        for at, event in events:
            loop.call_at(at, one.put, event)
        while arrived := await one.burst():
            found.append((round(clock(), 6), len(arrived)))
        return found

    return cast("list[tuple[float, int]]", run(main))


def test_the_first_token_waits_for_nothing_the_next_make_one_piece() -> None:
    tokens = [(0.001 * i, token()) for i in range(1, 31)]
    times = [when for when, _ in bursts([*tokens, (1.0, finished())])]
    assert times == [0.001, 0.001 + GAP, pytest.approx(0.001 + 2 * GAP), 1.0]


def test_the_more_answers_the_rarer_are_the_pieces_of_each() -> None:
    """Twenty inboxes of one answer: what is sent for all of them together stays bounded."""

    loop = Loop(cast(Engine, Deaf()), lambda _: None, lambda: None)
    assert loop.gap == GAP

    async def main(clock: Clock) -> None:
        one = loop.open([ask(n=20)])
        assert loop.gap == 20 * SHARE > GAP
        one.close()
        assert loop.gap == GAP

    run(main)


def test_nothing_is_held_back_where_tokens_are_slow() -> None:
    slow = [(0.1, token()), (0.2, token()), (0.3, finished())]
    assert bursts(slow) == [(0.1, 1), (0.2, 1), (0.3, 1)]


def test_what_was_held_back_comes_when_it_is_due_though_nothing_follows() -> None:
    found = bursts([(0.1, token()), (0.101, token()), (9.0, finished())])
    assert found == [(0.1, 1), (pytest.approx(0.1 + GAP), 1), (9.0, 1)]


@pytest.mark.parametrize("end", [finished(), Failed("r0", RuntimeError("a"))])
def test_an_end_comes_at_once_and_brings_what_was_held_back(end: Finished | Failed) -> None:
    assert bursts([(0.1, token()), (0.101, token()), (0.102, end)]) == [(0.1, 1), (0.102, 2)]


def test_each_of_several_answers_ends_at_once() -> None:
    events = [(0.1, token("r0.0")), (0.101, finished("r0.1")), (0.102, token("r0.0"))]
    found = bursts([*events, (0.103, finished("r0.0"))], n=2)
    assert found == [(0.1, 1), (0.101, 1), (0.103, 2)]
