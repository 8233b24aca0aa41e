"""How many threads a pass gets: the fastest count of those tried, with trials that cost little."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from rstitch.engine.runner import Extend
from rstitch.engine.threads import PAUSE, REGRET, TRIALS, Threads
from rstitch.engine.torch_runner import TorchRunner
from rstitch.types import Side
from tests.models import model


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock that passes of (tokens, threads) move on by what they cost."""

    def __init__(self, cost: Callable[[int, int], float], most: int = 4) -> None:
        self.now, self.cost = 0.0, cost
        self.threads = Threads(most, lambda: self.now)
        self.given: list[int] = []

    def run(self, tokens: int, passes: int) -> list[int]:
        for _ in range(passes):
            with self.threads.chosen(tokens):
                self.given.append(torch.get_num_threads())
                self.now += self.cost(tokens, self.given[-1])
        return self.given[-passes:]


def test_choices() -> None:
    counts = {1: [1], 2: [1, 2], 3: [1, 2, 3], 8: [1, 2, 4, 8], 12: [1, 2, 4, 8, 12]}
    assert {most: Threads(most).choices for most in counts} == counts


def test_each_size_gets_what_is_fastest_for_it() -> None:
    """Waking a thread costs 3, a token 1 shared by all: one thread below 4 tokens, four above."""
    machine = Machine(lambda tokens, threads: tokens / threads + 3 * (threads - 1))
    assert set(machine.run(1, 200)[-20:]) == {1}
    assert set(machine.run(200, 200)[-20:]) == {4}
    assert set(machine.run(1, 20)) == {1}, "sizes do not mix"


def test_every_count_is_tried_first() -> None:
    machine = Machine(lambda tokens, threads: 1.0)
    first = machine.run(5, 3 * TRIALS)
    assert sorted(first) == [1] * TRIALS + [2] * TRIALS + [4] * TRIALS


def test_trials_cost_a_hundredth_of_the_time() -> None:
    """The wrong count costs 22 times the right one, as on a busy machine (docs/log.md)."""
    machine = Machine(lambda tokens, threads: 10.0 if threads == 1 else 225.0, most=2)
    machine.run(16, 2 * TRIALS)
    given = machine.run(16, 20_000)
    wasted, total = 215.0 * given.count(2), 10.0 * len(given)
    assert 0 < wasted <= 1.1 * REGRET * total


def test_a_machine_that_changes_is_noticed() -> None:
    busy = True
    machine = Machine(lambda _, threads: (30.0 if busy else 6.0) if threads == 2 else 10.0, most=2)
    assert machine.run(64, 500)[-1] == 1
    busy = False
    assert set(machine.run(64, 6000)[-PAUSE + 1 :]) == {2}
    busy = True
    assert set(machine.run(64, 200)[-PAUSE + 1 :]) == {1}


def test_one_slow_pass_decides_nothing() -> None:
    """Four trials of 10 and 11 each, one of them slowed to 1,000: it counts as four means."""
    slow = iter([1000.0])
    cost = {1: 10.0, 2: 11.0}

    def pause(_: int, threads: int) -> float:
        return next(slow, 10.0) if threads == 1 and machine.now > 35 else cost[threads]

    machine = Machine(pause, most=2)
    given = machine.run(8, 2000)
    assert given[-10 * PAUSE :].count(1) >= 9 * PAUSE, "beyond the trials"


def test_threads_are_as_before_after_a_pass_that_fails() -> None:
    torch.set_num_threads(2)
    threads = Threads(2)
    for _ in range(2 * TRIALS):
        with pytest.raises(KeyError), threads.chosen(1):
            raise KeyError
        assert torch.get_num_threads() == 2


def test_logits_do_not_depend_on_it() -> None:
    torch.set_num_threads(2)
    tokens = list(range(40))

    def logits(threads: Threads | None) -> torch.Tensor:
        runner = TorchRunner(model(Side.LLM), 97, 4, 64, threads=threads)
        return torch.cat([runner.extend([Extend(runner.open(), tokens)]) for _ in range(3)])

    worst = (logits(Threads(2)) - logits(None)).abs().max()
    assert worst < 1e-5, worst
