"""Run a policy again on the signals of a trace, and find the first decision that differs.

A router that was replaced by a coin flip, a threshold in another unit, a trace edited by hand: all
of them show here, because the trace holds everything that a policy may read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rstitch.errors import BadRequest, BadTrace
from rstitch.policy import make
from rstitch.policy.base import Policy, Signals
from rstitch.trace import Trace
from rstitch.types import Proposal, Side


@dataclass(frozen=True, slots=True)
class Difference:
    """A recorded step that the policy, re-run, does not reproduce."""

    index: int
    """Of the proposal in the trace, from 0."""
    what: str


def check(trace: Trace) -> Difference | None:
    """The first proposal at which the trace contradicts its own policy, or None.

    Besides the decision: the answer starts on the side that the policy starts on, each proposal
    comes from the side that was asked, and positions advance by exactly the kept tokens. Raises
    BadTrace where there is nothing to re-run: an unknown policy, a signal that was not recorded.
    """
    policy = _policy(trace)
    state = torch.tensor([policy.initial_state()], dtype=torch.float32)
    side, position = policy.start(), 0
    for index, proposal in enumerate(trace.proposals):
        if proposal.side != side:
            return Difference(index, f"came from the {proposal.side.name}, asked was {side.name}")
        if proposal.position != position:
            return Difference(index, f"is at position {proposal.position}, due was {position}")
        missing = [name for name in policy.reads if name not in proposal.signals]
        if missing:
            raise BadTrace(
                f"{trace.id}, decision {index}: the signal {missing[0]!r} that policy "
                f"{policy.name!r} reads was not recorded"
            )
        decision = policy.decide(_signals(proposal), state)
        state = decision.state
        keep, next_side = bool(decision.keep[0]), Side(int(decision.next_side[0]))
        if (keep, next_side) != (proposal.keep, proposal.next_side):
            recorded, again = _said(proposal.keep, proposal.next_side), _said(keep, next_side)
            return Difference(index, f"recorded: {recorded}; {policy.spec()} says: {again}")
        side, position = next_side, position + keep
    return None


def _said(keep: bool, next_side: Side) -> str:
    return f"{'keep' if keep else 'discard'}, next {next_side.name}"


def _policy(trace: Trace) -> Policy:
    try:
        return make(**trace.policy)
    except (BadRequest, TypeError) as error:
        raise BadTrace(f"{trace.id}: its policy cannot be run again: {error}") from error


def _signals(proposal: Proposal) -> Signals:
    """The recorded signals as one row; one that was not recorded is NaN."""

    def one(value: float) -> torch.Tensor:
        return torch.tensor([value], dtype=torch.float32)

    named = {name: one(proposal.signals.get(name, torch.nan)) for name in ("max_prob", "coin")}
    return Signals(side=torch.tensor([int(proposal.side)]), entropy=one(proposal.entropy), **named)
