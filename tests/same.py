"""What "the same answer" means between two ways to compute it (DESIGN section 4).

In float32 a matrix product with one row and with sixteen differ by about 1e-6, so logits agree
within 1e-4 only, and a near tie may fall the other way. Two answers are the same where no step
differs (token, side, kept or not, who is next), or where at the *first* step that differs the
reference was nearer than 1e-4 to another choice: its two best tokens, or its signal and the
policy's threshold. What comes after such a step is not compared. At most 2 answers in 1,000 may be
excused so; of fewer than 1,000, one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.engine.request import Request
from rstitch.policy.confidence import Confidence
from rstitch.policy.entropy import EntropyThreshold
from rstitch.policy.hysteresis import Hysteresis
from rstitch.policy.margin import Margin
from rstitch.policy.phase import PerPhase
from rstitch.policy.rewind import Rewind
from rstitch.policy.window import Window
from rstitch.types import Side
from tests.models import VOCAB, Answer, context, plain_log_probs

TOLERANCE = 1e-4
"""Of logits, log-probabilities and entropies, and of a near tie."""
PER_THOUSAND = 2


def first_difference(got: Sequence[object], want: Sequence[object]) -> int | None:
    """Index of the first step that differs; a missing step differs too."""
    for i in range(max(len(got), len(want))):
        if i >= len(got) or i >= len(want) or got[i] != want[i]:
            return i
    return None


def assert_same(
    got: Sequence[Sequence[object]],
    want: Sequence[Sequence[object]],
    margin: Callable[[int, int], float],
) -> None:
    """`margin(answer, step)`: how near the reference was to another choice there."""
    excused = []
    for i, (mine, reference) in enumerate(zip(got, want, strict=True)):
        at = first_difference(mine, reference)
        if at is None:
            continue
        near = margin(i, at)
        assert near < TOLERANCE, (
            f"answer {i} differs at step {at} of {len(reference)}: {list(mine[at : at + 3])} "
            f"instead of {list(reference[at : at + 3])}, where the reference had a margin of {near}"
        )
        excused.append((i, at, near))
    allowed = max(1, len(want) * PER_THOUSAND // 1000)
    assert len(excused) <= allowed, f"{len(excused)} of {len(want)} answers at near ties: {excused}"


def assert_same_answers(
    got: Sequence[Answer], want: Sequence[Answer], requests: Sequence[Request]
) -> None:
    """Two runs of an engine on the random pair, proposal by proposal."""
    assert_same(
        [answer.steps for answer in got],
        [answer.steps for answer in want],
        lambda i, at: margin(requests[i], want[i], at),
    )


def margin(request: Request, reference: Answer, at: int) -> float:
    """How near an engine's answer on the random pair was to another choice at that proposal,
    by a plain forward pass."""
    at = min(at, len(reference.proposals) - 1)
    proposal = reference.proposals[at]
    kept = context(reference.proposals[:at])
    kept = kept[: len(kept) - proposal.back]
    logp = plain_log_probs(proposal.side, [*request.prompts[proposal.side], *kept])[-1:]
    gaps = _policy_gap(request, logp), _history_gap(request, reference, at)
    return min(_token_gap(request, logp, kept), *gaps)


def greedy_margin(side: Side, prompt: Sequence[int], tokens: Sequence[int], at: int) -> float:
    """Top-2 gap of a model that writes `tokens` greedily by itself."""
    best = plain_log_probs(side, [*prompt, *tokens[:at]])[-1].topk(2).values
    return float(best[0] - best[1])


def _token_gap(request: Request, logp: Tensor, kept: Sequence[int]) -> float:
    scores = shifted(request, logp, kept)
    position = len(kept)
    if request.sampling.temperature > 0:
        assert request.sampling.seed is not None
        seeds, positions = (torch.tensor([n]) for n in (request.sampling.seed, position))
        scores = sampling.filtered(scores, filters_of(request, 1))
        scores = scores + sampling.gumbel(seeds, positions, VOCAB)
    best = scores[0].topk(2).values
    return float(best[0] - best[1])


def _policy_gap(request: Request, logp: Tensor) -> float:
    if isinstance(request.policy, EntropyThreshold):
        return abs(float(sampling.entropy(logp)) - float(np.float32(request.policy.tau)))
    if isinstance(request.policy, Confidence):
        return abs(float(logp.max().exp()) - float(np.float32(request.policy.threshold)))
    if isinstance(request.policy, Margin):
        first, second = logp[0].topk(2).values.exp().tolist()
        return abs(first - second - request.policy.bound)
    if isinstance(request.policy, Hysteresis | PerPhase):
        entropy = float(sampling.entropy(logp))
        taus = [v for k, v in request.policy.spec().items() if k.startswith("tau")]
        return min(abs(entropy - tau) for tau in taus)
    return math.inf


def _history_gap(request: Request, reference: Answer, at: int) -> float:
    """The same for what a policy makes of earlier proposals, by what was recorded of them."""
    policy, so_far = request.policy, reference.proposals[: at + 1]
    if isinstance(policy, Window):
        seen = [p.entropy for p in so_far if p.side is Side.SLM][-policy.window :]
        return abs(float(np.mean(seen)) - policy.tau) if seen else math.inf
    if isinstance(policy, Rewind):
        return min((abs(math.exp(s) - policy.epsilon) for s in so_far[-1].span), default=math.inf)
    return math.inf


def shifted(request: Request, logp: Tensor, kept: Sequence[int]) -> Tensor:
    """(1, V) after bias and penalties, where the answer so far is `kept`; token by token."""
    asked, found = request.sampling, logp.clone()
    for token in range(logp.shape[1]):
        times = kept.count(token)
        penalty = asked.presence_penalty * (times > 0) + asked.frequency_penalty * times
        found[0, token] += dict(asked.logit_bias).get(token, 0.0) - penalty
    return found


def filters_of(request: Request, rows: int) -> sampling.Filters:
    """A request's sampling settings as rows of `Filters`."""
    settings, tensor = request.sampling, torch.tensor
    return sampling.Filters(
        temperature=tensor([settings.temperature] * rows),
        top_k=tensor([settings.top_k or VOCAB] * rows),
        top_p=tensor([settings.top_p] * rows),
        min_p=tensor([settings.min_p] * rows),
    )
