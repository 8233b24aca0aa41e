"""Ctrl-C waits for the end of a step, and of everything that it moves together."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from rstitch.interrupt import held_interrupt


@pytest.fixture(autouse=True)
def _handler_stays() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_comes_after_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupt():
        ctrl_c()
        done.append(1)
    assert done == [1]


def test_a_second_one_is_not_held_back() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_interrupt():
        ctrl_c()
        done.append(1)
        ctrl_c()
        done.append(2)
    assert done == [1]


def test_an_error_of_the_block_does_not_swallow_it() -> None:
    with pytest.raises(KeyboardInterrupt) as told, held_interrupt():
        ctrl_c()
        raise ValueError("the step failed")
    assert isinstance(told.value.__context__, ValueError)


def test_a_handler_of_the_users_own_is_called_instead() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        with held_interrupt():
            ctrl_c()
            assert seen == []
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_interrupt():
            ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_nothing_to_hold() -> None:
    done: list[bool] = []

    def work() -> None:
        with held_interrupt():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
