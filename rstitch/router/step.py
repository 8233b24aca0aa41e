"""One step of training: groups of rollouts, their decisions as tensors, a few updates.

Everything that is drawn depends on (seed, step) alone, so a run that was killed goes on as if not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rstitch.evals.seeds import seed_from
from rstitch.policy.network import features
from rstitch.router import dapo
from rstitch.router.decisions import Places, see
from rstitch.router.policies import Sampled, held
from rstitch.router.prices import Price
from rstitch.router.problems import Graded
from rstitch.router.rollouts import Rollout, roll
from rstitch.router.warm import Trainable

if TYPE_CHECKING:
    from rstitch.api import Stitch

MOST_DRAWN = 3
"""Times as many problems as a step wants are tried before it takes what there is."""
CLIP = 1.0
"""Norm of a gradient at most."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Decisions of a step; tensors (decisions, ...)."""

    inputs: Tensor
    old: Tensor
    handed: Tensor
    advantage: Tensor


def groups(
    stitch: Stitch,
    problems: Sequence[Graded],
    model: Trainable,
    settings: dapo.Settings,
    tau: float,
    price: Price,
    reference: float,
    seed: int,
    step: int,
    max_tokens: int,
) -> tuple[list[list[Rollout]], dict[str, Any]]:
    """Groups that tell something, as many as wanted or as MOST_DRAWN times the problems give."""
    order = random.Random(seed_from(seed, "order", step)).sample(
        range(len(problems)), len(problems)
    )
    order = order[: MOST_DRAWN * settings.problems]
    policy = Sampled(file=held(model.network(), f"{seed}"), tau=tau)
    found: list[list[Rollout]] = []
    rolled: list[Rollout] = []
    for at in range(0, len(order), settings.problems):
        part = [(i, problems[i]) for i in order[at : at + settings.problems]]
        drawn = seed_from(seed, "coins", step)
        for group in roll(stitch, part, policy, tau, price, settings.group, drawn, max_tokens):
            rolled += group
            rewards = dapo.rewards_of(group, settings.price, reference, max_tokens)
            if dapo.tells(rewards) and any(one.decisions for one in group):
                found.append(group)
        if len(found) >= settings.problems:
            break
    n = len(rolled)
    about = {
        "rollouts": n,
        "accuracy": sum(one.right for one in rolled) / n,
        "latency": sum(one.seconds for one in rolled) / n / reference,
        "llm_share": sum(one.llm_share for one in rolled) / n,
        "groups": min(len(found), settings.problems),
    }
    return found[: settings.problems], about


def batch_of(
    stitch: Stitch,
    found: Sequence[Sequence[Rollout]],
    settings: dapo.Settings,
    reference: float,
    most: int,
) -> Batch:
    """All decisions of the groups. Nothing may be in flight."""
    advantage: list[float] = []
    rollouts: list[Rollout] = []
    for group in found:
        rewards = dapo.rewards_of(group, settings.price, reference, most)
        values = dapo.advantages(rewards, settings.floor)
        for one, value in zip(group, values, strict=True):
            rollouts.append(one)
            advantage += [value] * len(one.decisions)
    seen = see(
        stitch,
        [Places(one.text, one.tokens, [d.position for d in one.decisions]) for one in rollouts],
    )
    decisions = [d for one in rollouts for d in one.decisions]
    return Batch(
        inputs=features(seen.hidden, seen.entropy, seen.context),
        old=torch.tensor([d.score for d in decisions]),
        handed=torch.tensor([d.handed for d in decisions]),
        advantage=torch.tensor(advantage),
    )


def update(
    model: Trainable,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    settings: dapo.Settings,
    seed: int,
) -> None:
    """A few ascents on the objective."""
    draws = torch.Generator().manual_seed(seed)
    n = len(batch.old)
    for _ in range(settings.epochs):
        for rows in torch.randperm(n, generator=draws).chunk(settings.batches):
            loss = -dapo.objective(
                model(batch.inputs[rows]),
                batch.old[rows],
                batch.handed[rows],
                batch.advantage[rows],
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
