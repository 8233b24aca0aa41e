"""DAPO (Yu et al. 2025, arXiv 2503.14476) over the router's decisions, with the paper's reward.

    R = r - lambda r L                   r: right or not; L: predicted seconds over the reference's
    A_i = R_i - mean R                                               over a problem's group
    J = 1 / sum_i T_i  sum_i sum_t min(rho A_i, clip(rho, 1 - LOW, 1 + HIGH) A_i)

over the T_i decisions of rollout i (token-level), rho = pi(a | s) / pi_old(a | s). Groups whose
rewards are all the same say nothing and are drawn again (dynamic sampling); an answer that nears
the token budget is punished (soft overlong punishment). Departures from arXiv 2507.17307, and what
it leaves open:

1. L has no unit. The paper's lambda of 5e-6 needs milliseconds of one machine; here L is 1 for the
   mean answer of a router that always hands over, so lambda is what such an answer's time is worth,
   in correctness.
2. Advantages are not divided by the group's standard deviation, as in Dr. GRPO (Liu et al. 2025,
   arXiv 2503.20783). A group that is right throughout would be brought to unit spread by whatever
   its latencies differ in, so that lambda would cancel and saving 1 % weigh as much as being right.
   `Settings.floor` divides by (std + floor), 0 is the paper's; 0.1 cost a point and more on dev
   (docs/log.md).
3. It starts from a supervised network (`warm`), not from nothing, whose log-odds already include
   lambda. One decision in twenty matters, so a group of eight draws of a router that knows nothing
   rarely tells which.
4. Input is the final hidden state with entropy and context; the entropy is a function of the hidden
   state, but not an easy one.
5. Tokens are greedy, only decisions are drawn: what differs within a group is the router's doing.
6. No penalty towards a reference policy, as in DAPO. Models are frozen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rstitch.router.rollouts import Rollout

LOW, HIGH = 0.2, 0.28
"""Decoupled clip, DAPO's own."""
OVERLONG = 0.2
"""Last share of the token budget, over which the punishment rises to 1."""
SAME = 1e-6


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one run."""

    price: float = 0.1
    """lambda."""
    group: int = 8
    problems: int = 32
    """Per step."""
    epochs: int = 2
    """Passes over a step's decisions."""
    batches: int = 4
    """Updates per pass."""
    rate: float = 3e-4
    floor: float | None = None
    """Advantages are divided by (deviation of the group + floor); None: by nothing."""


def reward(right: bool, latency: float, price: float) -> float:
    """latency: predicted seconds over the reference's."""
    return float(right) * (1 - price * latency)


def overlong(tokens: int, most: int, share: float = OVERLONG) -> float:
    """0 up to the last `share` of the budget, then falling to -1 at its end."""
    start = most * (1 - share)
    return -min(1.0, max(0.0, (tokens - start) / (most - start)))


def advantages(rewards: Sequence[float], floor: float | None = None) -> list[float]:
    """Of one group; `Settings.floor`. 0 where all rewards are the same."""
    if not tells(rewards):
        return [0.0] * len(rewards)
    mean = sum(rewards) / len(rewards)
    if floor is None:
        return [one - mean for one in rewards]
    spread = math.sqrt(sum((one - mean) ** 2 for one in rewards) / len(rewards))
    return [(one - mean) / (spread + floor) for one in rewards]


def tells(rewards: Sequence[float]) -> bool:
    """Whether a group's rewards differ, so that it has something to say."""
    return max(rewards) - min(rewards) > SAME


def rewards_of(group: Sequence[Rollout], price: float, reference: float, most: int) -> list[float]:
    """reference: seconds that are a latency of 1."""
    return [
        reward(one.right, one.seconds / reference, price) + overlong(len(one.tokens), most)
        for one in group
    ]


def objective(
    score: Tensor,
    old: Tensor,
    handed: Tensor,
    advantage: Tensor,
    low: float = LOW,
    high: float = HIGH,
) -> Tensor:
    """To be maximised: mean over decisions (all tensors (decisions,)).

    score, old: log-odds of handing over, now and when it was drawn. handed: bool.
    """
    logp, before = log_prob(score, handed), log_prob(old, handed)
    ratio = torch.exp(logp - before)
    clipped = ratio.clamp(1 - low, 1 + high)
    return torch.minimum(ratio * advantage, clipped * advantage).mean()


def log_prob(score: Tensor, handed: Tensor) -> Tensor:
    """ln pi(a) of Bernoulli decisions."""
    return torch.nn.functional.logsigmoid(torch.where(handed, score, -score))
