"""What policies make of final hidden states, in a worker: each its own rows, asked together."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from rstitch.policy.base import Policy, Signals
from rstitch.vllm.slots import Slots, staged

LOG = logging.getLogger(__name__)
FAILED = math.inf
"""Stands for a score that could not be made, which is no reason to end the whole engine."""


def scores(hidden: Tensor | None, found: Signals, slots: Slots, on_host: list[int]) -> Tensor:
    """float32 (rows,): 0 for rows whose policy scores nothing here, FAILED where it could not.

    hidden: (rows, width); None where no worker's head was listened to.
    """
    told = torch.zeros_like(found.entropy)
    for policy, mine in _members(slots, on_host).items():
        if policy is None:
            made: Tensor | float = FAILED
        else:
            made = _asked(policy, hidden, found, mine)
        if len(mine) == len(told) and isinstance(made, Tensor):
            return made
        told[staged(torch.tensor(mine), told.device)] = made
    return told


def _members(slots: Slots, on_host: list[int]) -> dict[Policy | None, list[int]]:
    """The rows of each policy that scores; None for those whose files cannot be read."""
    members: dict[Policy | None, list[int]] = {}
    for i, slot in enumerate(on_host):
        asked = slots.asked[slot]
        if asked is None:
            continue
        try:
            policy = asked.scorer
        except Exception:  # a file of another machine, or one that is gone
            LOG.exception("rstitch: %s", asked.policy)
            members.setdefault(None, []).append(i)
            continue
        if policy is not None:
            members.setdefault(policy, []).append(i)
    return members


def _asked(
    policy: Policy, hidden: Tensor | None, found: Signals, mine: list[int]
) -> Tensor | float:
    """Its scores of these rows, or FAILED."""
    try:
        if hidden is None or len(hidden) != len(found.entropy):
            heard = "nothing" if hidden is None else f"{len(hidden)} rows"
            raise RuntimeError(f"{len(found.entropy)} rows are sampled, {heard} came to the head")
        reads = [name for name in policy.reads if name != "score"]
        at = staged(torch.tensor(mine), hidden.device)
        made = policy.score(hidden[at], found.only(reads, policy.top, at)).float()
    except Exception:  # as in this process, it ends the requests of that policy alone
        LOG.exception("rstitch: %s", policy.spec())
        return FAILED
    return torch.where(made.isfinite(), made, FAILED)
