"""The sampled law, exactly: all answers of a small vocabulary, their probabilities, and counts.

Two fixed Markov chains; the LLM's law of whole answers is known by multiplication. Seeds are fixed,
so a test passes or fails for ever; had the noise been chosen anew, it would fail by chance once in
a million (the chi-square quantile below). Cells of fewer than 5 expected answers are joined.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from rstitch import sampling
from rstitch.baselines import make
from rstitch.baselines.law import Law
from rstitch.types import Sampling
from tests.baselines.scripts import LLM, SLM, knowing, odds, write
from tests.fakes import EOS, VOCAB

WORDS = (EOS, 2, 3, 4)
LENGTH = 4
SEEDS = 600
Z_ONE_IN_A_MILLION = 4.7534


def chain(seed: int) -> Tensor:
    """Logits (VOCAB, VOCAB): after each token, over four words."""
    generator = torch.Generator().manual_seed(seed)
    out = torch.full((VOCAB, VOCAB), -math.inf)
    for word in WORDS:
        out[:, word] = torch.randn(VOCAB, generator=generator)
    return out


CHAINS = {SLM: chain(1), LLM: chain(2)}


def after(side: Any, ids: list[int]) -> Tensor:
    return CHAINS[side][ids[-1] if ids else 0]


def exact(given: Sampling) -> dict[tuple[int, ...], float]:
    """Probability of every answer under the LLM's law."""
    logp = sampling.log_probs(CHAINS[LLM], VOCAB)
    ones = torch.ones(VOCAB)
    filters = sampling.Filters(
        ones * given.temperature,
        (ones * (given.top_k or VOCAB)).long(),
        ones * given.top_p,
        ones * given.min_p,
    )
    law = torch.softmax(sampling.filtered(logp, filters).double(), -1)
    found: dict[tuple[int, ...], float] = {}

    def extend(ids: tuple[int, ...], chance: float) -> None:
        if len(ids) == LENGTH or (ids and ids[-1] == EOS):
            found[ids] = chance
            return
        for word in WORDS:
            extend((*ids, word), chance * float(law[ids[-1] if ids else 0, word]))

    extend((), 1.0)
    return {ids: chance for ids, chance in found.items() if chance > 0}


def chi_square(counts: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> float:
    """The statistic over its quantile at one in a million (Wilson, Hilferty): below 1 is fine."""
    total = sum(counts.values())
    assert counts.keys() <= law.keys(), f"impossible: {counts.keys() - law.keys()}"
    cells, rare = [], [0.0, 0.0]
    for ids, chance in law.items():
        if chance * total >= 5:
            cells.append([counts[ids], chance * total])
        else:
            rare = [rare[0] + counts[ids], rare[1] + chance * total]
    cells += [rare] if rare[1] else []
    statistic = sum((seen - due) ** 2 / due for seen, due in cells)
    free = len(cells) - 1
    part = 2 / (9 * free)
    return statistic / (free * (1 - part + Z_ONE_IN_A_MILLION * math.sqrt(part)) ** 3)


def sample(baseline: Any, given: dict[str, Any], seeds: int) -> tuple[Counter[Any], float]:
    """Counts of answers, and the acceptance."""
    pair = knowing(lambda ids: after(SLM, ids), lambda ids: after(LLM, ids))
    counts: Counter[Any] = Counter()
    drafted = accepted = 0
    for seed in range(seeds):
        one = write(pair, baseline, sampling=Sampling(seed=seed, **given), max_tokens=LENGTH)
        counts[one.tokens] += 1
        drafted, accepted = drafted + one.drafted, accepted + one.accepted
    return counts, accepted / drafted


HOT = {"temperature": 1.0}
FILTERED = {"temperature": 0.8, "top_k": 3, "top_p": 0.95, "min_p": 0.05}


@pytest.mark.parametrize(
    ("given", "params"), [(HOT, {"k": 3}), (FILTERED, {"k": 3}), (HOT, {"k": 1, "adapt": True})]
)
def test_sampled_answers_have_the_llms_law(given: dict[str, Any], params: dict[str, Any]) -> None:
    counts, acceptance = sample(make("speculative", **params), given, SEEDS)
    off = chi_square(counts, exact(Sampling(seed=0, **given)))
    assert off < 1, f"chi-square is {off:.2f} times its quantile: {counts.most_common(8)}"
    assert 0.3 < acceptance < 0.9, "the test says little if nearly all or none is accepted"


def test_drafting_that_stops_at_an_entropy_keeps_the_law() -> None:
    """Where a draft ends depends on what was drafted; the law must not."""
    baseline = make("gated-speculative", k=3, window=0, tau=0.44, theta=1.1)
    counts, _ = sample(baseline, HOT, SEEDS)
    off = chi_square(counts, exact(Sampling(seed=0, **HOT)))
    assert off < 1, f"chi-square is {off:.2f} times its quantile"


def test_the_test_sees_a_wrong_law() -> None:
    """A rule that lifts rejections bends the law, and so does a replacement drawn from p."""
    loose = make("gated-speculative", k=3, window=0, theta=0.0)
    counts, _ = sample(loose, HOT, SEEDS)
    assert chi_square(counts, exact(Sampling(seed=0, **HOT))) > 1


def test_what_replaces_a_draft_does_not_depend_on_it() -> None:
    """q = (.7, .3, 0), p = (0, .6, .4). With the draft's own noise the second token would have .51
    and not .6: it has lost against the first already. 5 standard deviations is once in 1.7 million.
    """
    pair = knowing(lambda ids: odds(t2=0.7, t3=0.3), lambda ids: odds(t3=0.6, t4=0.4))
    given = [Sampling(temperature=1.0, seed=seed) for seed in range(1500)]
    first = [write(pair, make("speculative"), sampling=s, max_tokens=2).tokens[0] for s in given]
    assert abs(first.count(3) - 900) < 5 * math.sqrt(1500 * 0.24), first.count(3)


def test_streams_are_independent_of_each_other() -> None:
    """A draft and what replaces it at one position: over V = 8 equal tokens they agree once in 8;
    4 standard deviations is once in 16,000."""
    agreed = 0
    for seed in range(2000):
        law = Law(Sampling(temperature=1.0, seed=seed), 8)
        agreed += law.draw(torch.zeros(8), 5) == law.draw(torch.zeros(8), 5, 1)
    assert abs(agreed - 250) < 4 * math.sqrt(2000 * 7 / 64), agreed
