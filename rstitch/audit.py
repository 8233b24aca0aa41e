"""What a trace says beside its decisions: whether its numbers, counts and passes can be true.

No model is run here, so the texts, and token ids without `top_logprobs`, stand as they are. All
else that a trace says twice has to agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rstitch.trace import Trace
from rstitch.types import FINISH_REASONS, Forward, Proposal, Side

ROUNDING = 1e-4
"""Nats that float32 may put between two log-probabilities of one token, or above 0."""
SHARES = ("max_prob", "coin", "margin", "top_probs", "phase", "boundary")
"""Signals that lie in 0..1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A record that the policy, re-run, does not reproduce, or that contradicts others."""

    index: int
    """Of the record among its kind, from 0; proposals for the end."""
    what: str
    record: Literal["decision", "pass", "end"] = "decision"

    @property
    def where(self) -> str:
        return "end" if self.record == "end" else f"{self.record} {self.index}"


def numbers(proposal: Proposal, greedy: bool) -> str | None:
    """What is wrong with a proposal's numbers, each by itself and with each other."""
    for what, value, fits, must in _ranges(proposal):
        if not fits:
            return f"has {what} {value!r}; it must be {must}"
    return _likeliest(proposal, greedy)


def _ranges(proposal: Proposal) -> Iterator[tuple[str, Any, bool, str]]:
    position, token = proposal.position, proposal.token
    entropy, logprob = proposal.entropy, proposal.logprob
    yield "position", position, type(position) is int and position >= 0, "a whole number"
    yield "token", token, type(token) is int and token >= 0, "a token id"
    yield "entropy", entropy, 0 <= entropy <= 1, "0 to 1"
    yield "logprob", logprob, -math.inf < logprob <= ROUNDING, "a finite number, at most 0"
    for score in proposal.span:
        yield "span", score, score <= ROUNDING, "at most 0"
    for _, score in proposal.top_logprobs:
        yield "top_logprobs", score, score <= ROUNDING, "at most 0"
    for name, value in proposal.signals.items():
        if name.partition(".")[0] in SHARES:
            yield name, value, 0 <= value <= 1, "0 to 1"
        elif name == "elapsed":
            yield name, value, 0 <= value < math.inf, "seconds, from 0 on"
        else:
            yield name, value, not math.isnan(value), "a number"


def _likeliest(proposal: Proposal, greedy: bool) -> str | None:
    """Whether the token's log-probability and those of the likeliest agree."""
    found, said = dict(proposal.top_logprobs), proposal.logprob
    if proposal.token in found and abs(found[proposal.token] - said) > ROUNDING:
        return f"has logprob {said}, in its top_logprobs {found[proposal.token]}"
    if found and proposal.token not in found and said > min(found.values()) + ROUNDING:
        return f"has token {proposal.token}, likelier than others of its top_logprobs, not in them"
    best = max(found.values(), default=None)
    if "max_prob" in proposal.signals:
        best = math.log(max(proposal.signals["max_prob"], 1e-45))
    if best is not None and said > best + ROUNDING:
        return f"has logprob {said}, above the likeliest token's {best}"
    if best is not None and greedy and said < best - ROUNDING:
        return f"has logprob {said}, greedy is the likeliest token's {best}"
    return None


def counts(trace: Trace) -> Difference | None:
    """Whether the end record counts what the proposals are."""
    if not trace.end:
        return None
    usage, reason = trace.end.get("usage"), trace.end.get("reason")
    if reason not in FINISH_REASONS:
        return _at_end(trace, f"has reason {reason!r}; known: {', '.join(FINISH_REASONS)}")
    if not isinstance(usage, dict):
        return _at_end(trace, f"has usage {usage!r}; it must be a table")
    for name, due in _due(trace).items():
        if usage.get(name) != due:
            return _at_end(trace, f"has {name} {usage.get(name)!r}; the records make {due}")
    seconds = usage.get("seconds")
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return _at_end(trace, f"has seconds {seconds!r}; it must be a number from 0 on")
    return None


def _due(trace: Trace) -> dict[str, float]:
    proposals = trace.proposals
    kept = [p.side for p in proposals if p.keep]
    share = kept.count(Side.LLM) / len(kept) if kept else 0.0
    return {
        "prompt_tokens": max((len(prompt) for prompt in trace.prompts.values()), default=0),
        "slm_tokens": kept.count(Side.SLM),
        "llm_tokens": kept.count(Side.LLM),
        "tokens": len(kept),
        "llm_share": share,
        "discards": sum(not p.keep and not p.taken_back for p in proposals),
        "handoffs": sum(p.next_side != p.side for p in proposals),
        "rewound_tokens": sum(p.taken_back for p in proposals),
    }


def _at_end(trace: Trace, what: str) -> Difference:
    return Difference(len(trace.proposals), what, "end")


def passes(trace: Trace) -> Difference | None:
    """Whether each proposal has the pass that it was read from, and no pass is left over.

    An answer that was interrupted may lack them, or the last of them. For proposals that `explain`
    has reproduced.
    """
    if not trace.forwards and (not trace.end or not trace.proposals):
        return None
    walk = _Walk(trace)
    for index, proposal in enumerate(trace.proposals):
        found = walk.step(index, proposal)
        if found:
            return found if trace.end or found.index < len(trace.forwards) else None
    if trace.end and trace.end["reason"] != "cancelled" and walk.at < len(trace.forwards):
        return Difference(walk.at, "is after the one that the last token was read from", "pass")
    walk.rest()
    if trace.end and walk.caught_up != trace.end["usage"].get("catchup_tokens"):
        said = trace.end["usage"].get("catchup_tokens")
        return _at_end(trace, f"has catchup_tokens {said!r}; the passes make {walk.caught_up}")
    return _cached(trace)


def _cached(trace: Trace) -> Difference | None:
    """Whether each side's first pass begins where the end record says that its prompt was cached;
    records of earlier versions do not say."""
    for side in Side if trace.end else ():
        said = trace.end["usage"].get(f"{side.label}_cached_tokens")
        first = next((f for f in trace.forwards if f.side is side), None)
        due = first.context - first.new_tokens if first else 0
        if said is not None and said != due:
            wrong = f"has {side.label}_cached_tokens {said!r}; its first pass began after {due}"
            return _at_end(trace, wrong)
        if due > len(trace.prompts.get(side, ())):
            return _at_end(trace, f"has {due} tokens cached, more than the {side.name}'s prompt")
    return None


class _Walk:
    """Along the proposals and the passes together."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.at = 0
        """Passes that are accounted for."""
        self.kept: list[Side] = []
        """Who wrote each token of the answer so far."""
        self.caught_up = 0

    def step(self, index: int, proposal: Proposal) -> Difference | None:
        """Passes over a part of what is unseen, then the one that the proposal was read from."""
        side, stay = proposal.side, len(self.kept) - proposal.back
        while True:
            if self.at == len(self.trace.forwards):
                return Difference(self.at, f"is missing: decision {index} was read from it", "pass")
            context, wrong = self._take(side)
            if wrong:
                return wrong
            if context == len(self.kept):
                break
        while proposal.back and self._is_reread(side, stay):
            _, wrong = self._take(side)
            if wrong:
                return wrong
        del self.kept[stay:]
        if proposal.keep or proposal.taken_back:
            self.kept.append(side)
        return None

    def rest(self) -> None:
        """Passes over a part of what is unseen, from which nothing was read before the end."""
        for forward in self.trace.forwards[self.at :]:
            self._count(forward)

    def _is_reread(self, side: Side, stay: int) -> bool:
        """A pass up to the last token that stays, whose distribution an earlier one had read."""
        rest = self.trace.forwards[self.at : self.at + 1]
        return any(f.side is side and self._context(f) <= stay for f in rest)

    def _context(self, forward: Forward) -> int:
        return forward.context - len(self.trace.prompts.get(forward.side, ()))

    def _take(self, side: Side) -> tuple[int, Difference | None]:
        """Tokens of the answer that the next pass ends at, and what is wrong with it."""
        forward, at = self.trace.forwards[self.at], self.at
        self.at += 1
        context = self._context(forward)
        wrong = _sizes(forward)
        if forward.side is not side:
            wrong = f"is of the {forward.side.name}, due was the {side.name}"
        elif wrong is None and context > len(self.kept):
            wrong = f"has context {forward.context}; there were {len(self.kept)} tokens of answer"
        if wrong:
            return 0, Difference(at, wrong, "pass")
        self._count(forward)
        return context, None

    def _count(self, forward: Forward) -> None:
        """What a pass has read of the other side's."""
        context = self._context(forward)
        read = self.kept[max(0, context - forward.new_tokens) : max(0, context)]
        self.caught_up += len(read) - read.count(forward.side)


def _sizes(forward: Forward) -> str | None:
    """What is wrong with a pass by itself."""
    checks: Iterable[tuple[str, Any, bool]] = (
        ("rows", forward.rows, forward.rows >= 1),
        ("new_tokens", forward.new_tokens, 1 <= forward.new_tokens <= forward.context),
        (
            "batch_tokens",
            forward.batch_tokens,
            forward.batch_tokens >= forward.new_tokens + forward.rows - 1
            and (forward.rows > 1 or forward.batch_tokens == forward.new_tokens),
        ),
        ("seconds", forward.seconds, 0 <= forward.seconds < math.inf),
    )
    return next(
        (f"has {name} {value!r}, which cannot be" for name, value, ok in checks if not ok), None
    )
