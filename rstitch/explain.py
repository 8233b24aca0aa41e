"""Run a policy again on the signals of a trace, and find the first decision that differs.

A router that was replaced by a coin flip, a threshold in another unit, a trace edited by hand: all
of them show here, because the trace holds everything that a policy may read.
"""

from __future__ import annotations

import torch

from rstitch import audit, sampling
from rstitch.audit import Difference
from rstitch.errors import BadRequest, BadTrace
from rstitch.policy import make
from rstitch.policy.base import Policy, Signals
from rstitch.policy.registry import build, is_known
from rstitch.trace import Trace
from rstitch.types import Proposal, Side


def check(trace: Trace, policy: type[Policy] | None = None) -> Difference | None:
    """The first record at which the trace contradicts its own policy or itself, or None.

    Besides the decision: the answer starts on the side that the policy starts on, each proposal
    comes from the side that was asked, positions advance by exactly the kept tokens, and what was
    taken back is what the policy takes back; coins are those of the seed, seconds only pass,
    numbers lie in their ranges, the end record counts the proposals, and each of them has its pass.
    `policy` is used where the trace names one that is neither built in nor installed. Raises
    BadTrace where there is nothing to re-run: an unknown policy, a signal that was not recorded.
    """
    again = _Again(_policy(trace, policy))
    for index, proposal in enumerate(trace.proposals):
        missing = [name for name in again.policy.recorded() if name not in proposal.signals]
        if missing:
            raise BadTrace(
                f"{trace.id}, decision {index}: the signal {missing[0]!r} that policy "
                f"{again.policy.name!r} reads was not recorded"
            )
        wrong = audit.numbers(proposal, trace.sampling.likeliest)
        wrong = wrong or _coin(proposal, trace.sampling.seed) or _context(proposal, trace)
        wrong = wrong or _elapsed(proposal, trace.proposals[max(0, index - 1)])
        found = again.step(index, proposal) if wrong is None else Difference(index, wrong)
        if found:
            return found
    if again.marked and trace.end:
        index = min(again.marked)
        return Difference(index, "is marked as taken back, which no later proposal did")
    return audit.counts(trace) or audit.passes(trace)


class _Again:
    """The answer as the policy, re-run, has it so far."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = torch.tensor([policy.initial_state()], dtype=torch.float32)
        self.side = policy.start()
        self.kept: list[int] = []
        """Index of the proposal at each position of the answer."""
        self.marked: set[int] = set()
        """Proposals that say they were taken back, and are not yet."""
        self.confirmed = 0
        """Positions before it cannot be taken back."""

    def step(self, index: int, proposal: Proposal) -> Difference | None:
        if proposal.side != self.side:
            return Difference(
                index, f"came from the {proposal.side.name}, asked was {self.side.name}"
            )
        wrong = self._rewind(index, proposal)
        if wrong:
            return wrong
        if proposal.position != len(self.kept):
            return Difference(
                index, f"is at position {proposal.position}, due was {len(self.kept)}"
            )
        return self._decide(index, proposal)

    def _decide(self, index: int, proposal: Proposal) -> Difference | None:
        decision = self.policy.decide(_signals(proposal, self.policy), self.state)
        self.state = decision.state
        keep, next_side = bool(decision.keep[0]), Side(int(decision.next_side[0]))
        was_kept = proposal.keep or proposal.taken_back
        if (keep, next_side) != (was_kept, proposal.next_side):
            recorded, again = _said(was_kept, proposal.next_side), _said(keep, next_side)
            return Difference(index, f"recorded: {recorded}; {self.policy.spec()} says: {again}")
        if keep:
            self.kept.append(index)
        if proposal.taken_back:
            self.marked.add(index)
        if proposal.side is Side.LLM:
            self.confirmed = len(self.kept)
        self.side = next_side
        return None

    def _rewind(self, index: int, proposal: Proposal) -> Difference | None:
        """What the LLM's reading of the SLM's tokens took back."""
        asked = proposal.side is Side.LLM and "span" in self.policy.reads
        due = len(self.kept) - self.confirmed if asked else 0
        if len(proposal.span) != due:
            return Difference(index, f"scores {len(proposal.span)} tokens, due were {due}")
        back = due - self.policy.confirm(proposal.span) if due else 0
        if back != proposal.back:
            return Difference(
                index, f"recorded: {proposal.back} taken back; {self.policy.spec()} says: {back}"
            )
        stay = len(self.kept) - back
        gone, self.kept = set(self.kept[stay:]), self.kept[:stay]
        if asked and gone != self.marked:
            return Difference(
                min(gone ^ self.marked), f"taken back or not: decision {index} differs"
            )
        self.marked -= gone
        return None


def _coin(proposal: Proposal, seed: int | None) -> str | None:
    """What is wrong with a recorded coin, a pure function of (seed, position, side)."""
    said = proposal.signals.get("coin")
    if said is None:
        return None
    if seed is None:
        return "has a coin, whose seed the trace does not say"
    counters = torch.tensor([seed]), torch.tensor([proposal.position])
    due = float(sampling.coins(*counters, int(proposal.side))[0])
    return None if said == due else f"has coin {said}; that of its seed and position is {due}"


def _context(proposal: Proposal, trace: Trace) -> str | None:
    """What is wrong with a recorded context: the prompt and the answer so far."""
    said, prompt = proposal.signals.get("context"), trace.prompts.get(proposal.side)
    if said is None or prompt is None:
        return None
    due = len(prompt) + proposal.position
    return None if said == due else f"has context {said}; there were {due} tokens"


def _elapsed(proposal: Proposal, before: Proposal) -> str | None:
    """What is wrong with recorded seconds, which only pass."""
    said, earlier = (p.signals.get("elapsed", 0.0) for p in (proposal, before))
    return f"has elapsed {said} after {earlier}: time ran back" if said < earlier else None


def _said(keep: bool, next_side: Side) -> str:
    return f"{'keep' if keep else 'discard'}, next {next_side.name}"


def _policy(trace: Trace, given: type[Policy] | None) -> Policy:
    """The trace's own policy. Only a file that the user gave is run, none that a trace names."""
    name = trace.policy.get("name", "")
    try:
        if given is None or is_known(name):
            return make(**trace.policy)
        return build(given, name, {k: v for k, v in trace.policy.items() if k != "name"})
    except (BadRequest, TypeError) as error:
        raise BadTrace(f"{trace.id}: its policy cannot be run again: {error}") from error


def _signals(proposal: Proposal, policy: Policy) -> Signals:
    """The recorded signals as one row."""

    def one(*values: float) -> torch.Tensor:
        return torch.tensor([*values], dtype=torch.float32)

    given = proposal.signals
    named = {name: one(given[name]) for name in policy.recorded() if name in policy.reads}
    if policy.top:
        named["top_probs"] = one(*(given[f"top_probs.{i}"] for i in range(policy.top)))[None]
    side = torch.tensor([int(proposal.side)])
    return Signals(side=side, entropy=one(proposal.entropy), **named)
