"""The supervised start: a rule that can be learnt is, the same seed is the same network."""

from __future__ import annotations

import math

import pytest
import torch

from rstitch.policy.lambdas import MOST, shift_of
from rstitch.router.decisions import Seen
from rstitch.router.warm import Shape, Trainable, fit

N, WIDTH = 2000, 6


def seen(seed: int = 0) -> tuple[Seen, torch.Tensor, torch.Tensor]:
    """Harm where the product of two hidden units is positive, which no linear rule finds."""
    draws = torch.Generator().manual_seed(seed)
    hidden = 3 + 10 * torch.randn(N, WIDTH, generator=draws)
    harm = (hidden[:, 0] - 3) * (hidden[:, 1] - 3) > 0
    rest = torch.rand(3, N, generator=draws)
    return Seen(hidden, rest[0], 100 * rest[1], rest[2]), harm, torch.arange(N)


def accuracy(model: Trainable, seed: int) -> float:
    other, harm, _ = seen(seed)
    found = model.network()(other.hidden, other.entropy, other.context) > 0
    return float((found == harm).float().mean())


@pytest.mark.parametrize(("hidden", "least", "most"), [((32,), 0.9, 1.0), ((), 0.4, 0.6)])
def test_it_learns_what_its_shape_can(hidden: tuple[int, ...], least: float, most: float) -> None:
    model = fit(*seen(), Shape(hidden, epochs=40, rate=1e-2, dropout=0.0), seed=1)
    assert least <= accuracy(model, 7) <= most


def test_same_seed_same_network() -> None:
    shape = Shape((8,), epochs=3)
    first, second, third = (fit(*seen(), shape, seed).network() for seed in (1, 1, 2))
    assert torch.equal(first.layers[0].weight, second.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, third.layers[0].weight)


def test_the_frozen_network_is_the_trained_one() -> None:
    """Standardisation folded in, and the shift added."""
    model, (data, _, _) = fit(*seen(), Shape((8,), epochs=2), 0), seen()
    from rstitch.policy.network import features

    inputs = features(data.hidden, data.entropy, data.context)
    frozen = model.network(1.5)(data.hidden, data.entropy, data.context)
    torch.testing.assert_close(frozen, model(inputs).detach() + 1.5, atol=1e-4, rtol=1e-4)


def test_lambda_as_a_bound_on_harm_by_hand() -> None:
    """lambda 0.5, an answer that takes 1, a hand-off that takes 0.1: 0.05 / 0.5, odds of 1 to 9."""
    assert shift_of(0.5, 0.1, 1.0) == pytest.approx(math.log(9))
    assert shift_of(0.0, 0.1, 1.0) == MOST
    assert shift_of(0.1, 0.1, 1.0) > shift_of(0.2, 0.1, 1.0), "dearer time, fewer hand-offs"
    assert shift_of(0.99, 0.5, 1.0) == -MOST and shift_of(2.0, 0.1, 1.0) == -MOST
