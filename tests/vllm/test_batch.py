"""A slot stays with its request, however vLLM moves it about in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

import torch

from rstitch.policy import make
from rstitch.types import Sampling, Side
from rstitch.vllm.asked import Asked
from rstitch.vllm.batch import Batch
from rstitch.vllm.slots import Slots
from tests.vllm.asking import CPU, Turn

PADDED, VOCAB = 400, 300


class Direction(Enum):
    """vLLM's names."""

    UNIDIRECTIONAL = 0
    SWAP = 1


def update(
    removed: Sequence[int] = (), added: Sequence[Any] = (), moved: Sequence[Any] = ()
) -> SimpleNamespace:
    return SimpleNamespace(removed=removed, added=added, moved=moved)


def asked(tau: float) -> Asked:
    turn = Turn(make("entropy", tau=tau), Sampling(seed=1))
    return turn.asked(Side.SLM, turn.layout(PADDED, VOCAB))


def request(index: int, tau: float, written: list[int]) -> tuple[int, Any, list[int], list[int]]:
    return index, SimpleNamespace(extra_args=asked(tau).as_args()), [1, 2, 3], written


def taus(batch: Batch) -> list[float]:
    """By row."""
    _, _, on_host = batch.rows()
    return [one.policy["tau"] for one in batch.slots.present(on_host)]


def test_added_removed_moved_and_swapped() -> None:
    batch = Batch(Slots(4, CPU))
    batch.update(update(added=[request(i, i / 10, []) for i in range(4)]))
    assert taus(batch) == [0.0, 0.1, 0.2, 0.3]
    batch.update(update(moved=[(0, 2, Direction.SWAP)]))
    assert taus(batch) == [0.2, 0.1, 0.0, 0.3]
    batch.update(update(removed=[1], moved=[(3, 1, Direction.UNIDIRECTIONAL)]))
    assert taus(batch) == [0.2, 0.3, 0.0]
    batch.update(update(added=[request(1, 0.9, [])]))  # in the place of another
    assert taus(batch) == [0.2, 0.9, 0.0]
    batch.update(update(removed=[0, 1, 2]))
    assert taus(batch) == []
    batch.update(update(added=[request(i, i / 10, []) for i in range(4)]))  # no slot is lost
    assert taus(batch) == [0.0, 0.1, 0.2, 0.3]


def test_lengths_grow_with_what_vllm_writes() -> None:
    batch, written = Batch(Slots(2, CPU)), [7]
    batch.update(update(added=[request(0, 0.1, written), request(1, 0.2, [])]))
    where, ends, on_host = batch.rows()
    assert where.tolist() == on_host
    assert ends.tolist() == [4, 3]
    written.append(8)
    assert batch.rows()[1].tolist() == [5, 3]


def test_a_request_that_is_not_ours_has_a_row_all_the_same() -> None:
    batch = Batch(Slots(2, CPU))
    other = (0, SimpleNamespace(extra_args=None), [1], [])
    batch.update(update(added=[other, request(1, 0.2, [])]))
    where, _, _ = batch.rows()
    assert len(where) == 2
    assert taus(batch) == [0.2]
    assert isinstance(where, torch.Tensor)
