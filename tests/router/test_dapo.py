"""DAPO's numbers against ones worked out by hand, and a toy that it has to solve."""

from __future__ import annotations

import math

import pytest
import torch

from rstitch.router.dapo import (
    advantages,
    log_prob,
    objective,
    overlong,
    reward,
    rewards_of,
    tells,
)
from rstitch.router.rollouts import Rollout


def test_rewards() -> None:
    """R = r (1 - lambda L): time counts for right answers alone."""
    assert reward(True, 2.0, 0.1) == pytest.approx(0.8)
    assert reward(False, 2.0, 0.1) == 0.0
    assert reward(True, 2.0, 0.0) == 1.0


def test_overlong_punishment_rises_over_the_last_fifth() -> None:
    assert [overlong(n, 100) for n in (10, 80, 90, 100)] == pytest.approx([0, 0, -0.5, -1])


def test_rewards_of_a_group() -> None:
    def one(right: bool, seconds: float, tokens: int) -> Rollout:
        return Rollout(0, "", tuple(range(tokens)), right, seconds, False, 0.0, ())

    group = [one(True, 0.5, 10), one(True, 1.0, 90), one(False, 1.0, 10)]
    assert rewards_of(group, 0.2, 0.5, 100) == pytest.approx([0.8, 0.6 - 0.5, 0.0])


def test_advantages_by_hand() -> None:
    """Rewards 1, 0, 0, 1: mean 1/2, deviation 1/2."""
    assert advantages([1, 0, 0, 1], floor=0) == pytest.approx([1, -1, -1, 1])
    assert advantages([1, 0, 0, 1], floor=0.5) == pytest.approx([0.5, -0.5, -0.5, 0.5])
    assert advantages([1, 0, 0, 0.6]) == pytest.approx([0.6, -0.4, -0.4, 0.2])
    assert advantages([0.7, 0.7]) == advantages([0.7, 0.7], floor=0) == [0, 0]


def test_lambda_does_not_cancel_in_a_group_that_is_right_throughout() -> None:
    small, large = (advantages([1 - price * x for x in (0.8, 1.2)])[0] for price in (0.01, 0.3))
    assert small == pytest.approx(0.002) and large == pytest.approx(30 * small)
    divided = [advantages([1 - price * x for x in (0.8, 1.2)], 0)[0] for price in (0.01, 0.3)]
    assert divided == pytest.approx([1, 1]), "the paper's: lambda cancels"


def test_groups_that_are_all_the_same_tell_nothing() -> None:
    assert not tells([0.9, 0.9, 0.9]) and not tells([0, 0]) and tells([0.9, 0.8, 0.9])


def test_probabilities() -> None:
    found = log_prob(torch.tensor([math.log(3.0), math.log(3.0)]), torch.tensor([True, False]))
    assert found.exp().tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize(
    ("handed", "advantage", "now", "value", "slope"),
    [
        # pi_old 1/2. Inside the clip: rho A, and d rho / d score = rho (1 - pi) for the action.
        (True, 2.0, 0.5, 2.0, 2.0 * 0.5),
        (False, 2.0, 0.5, 2.0, -2.0 * 0.5),
        # pi 0.7: rho 1.4 is above 1.28, so a gain is cut there and has no slope, a loss is whole.
        (True, 2.0, 0.7, 2.56, 0.0),
        (True, -2.0, 0.7, -2.8, -2.0 * 1.4 * 0.3),
        # pi 0.3: rho 0.6 is below 0.8; now it is the loss that is cut.
        (True, -2.0, 0.3, -1.6, 0.0),
        (True, 2.0, 0.3, 1.2, 2.0 * 0.6 * 0.7),
    ],
)
def test_objective_and_gradient_by_hand(
    handed: bool, advantage: float, now: float, value: float, slope: float
) -> None:
    score = torch.tensor([math.log(now / (1 - now))], requires_grad=True)
    found = objective(score, torch.zeros(1), torch.tensor([handed]), torch.tensor([advantage]))
    found.backward()
    assert score.grad is not None
    assert found.item() == pytest.approx(value, rel=1e-5)
    assert float(score.grad) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_every_decision_weighs_the_same_however_long_its_answer() -> None:
    """Token-level: 3 decisions with advantage 1 and 1 with -1 are 2/4, not 0."""
    zero, handed = torch.zeros(4), torch.ones(4, dtype=torch.bool)
    found = objective(zero, zero, handed, torch.tensor([1.0, 1.0, 1.0, -1.0]))
    assert float(found) == pytest.approx(0.5)


@pytest.mark.parametrize(("price", "hands_over"), [(0.1, (True, False)), (0.0, (True, None))])
def test_a_toy_with_two_kinds_of_position(price: float, hands_over: tuple[bool, bool]) -> None:
    """At kind 0 only the LLM is right, at kind 1 both are, and the LLM takes twice as long. 200
    groups of 8 from even odds; at lambda 0 nothing says what to do at kind 1.

    Wrong with odds below 1e-9: the drift of a score is some 30 of its standard deviations.
    """
    draws = torch.Generator().manual_seed(0)
    score = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.Adam([score], 0.05)
    for _ in range(200):
        kind = int(torch.randint(2, (1,), generator=draws))
        old = score.detach()[kind].expand(8).clone()
        handed = torch.rand(8, generator=draws) < torch.sigmoid(old)
        rewards = [reward(kind == 1 or h, 2.0 if h else 1.0, price) for h in handed.tolist()]
        if not tells(rewards):
            continue
        loss = -objective(score[kind].expand(8), old, handed, torch.tensor(advantages(rewards)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = score.tolist()
    for value, wanted in zip(found, hands_over, strict=True):
        assert wanted is None or (value > 1) == wanted and abs(value) > 1, found
