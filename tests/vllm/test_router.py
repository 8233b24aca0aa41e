"""The learned router on vLLM against the same in this process: hidden states reach the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rstitch.api import Stitch
from rstitch.errors import BadPair
from rstitch.explain import check
from rstitch.pairs.bound import models_of
from rstitch.policy import Policy, make
from rstitch.policy.network import Layer, Network, save
from rstitch.stream import Answer
from rstitch.types import Sampling, Side
from tests.same import assert_same
from tests.vllm.test_pair import GREEDY, PROBLEMS, assert_clean, nearness, questions, steps

TAU = 0.02
"""Of the router that ships, and where the tests' own are asked."""
ROUTERS = ({}, {"price": 0.5}, {"price": 0.0}, {"above": 2.0}, {"tau": 0.005, "above": -3.0})
"""As it was trained; dearer and cheaper; and by its own number. Each with 24 problems, the first
with as many as the other comparisons."""


def asked(policy: Policy, **options: Any) -> dict[str, Any]:
    return {"policy": policy, "sampling": GREEDY, "max_tokens": 400, "top_logprobs": 2, **options}


def scores(answer: Answer) -> list[float]:
    return [p.signals["score"] for p in answer.trace.proposals]


def near(answer: Answer, at: int, policy: Any) -> float:
    """Beside the entropy, how near the score was to the other choice."""
    found = answer.trace.proposals[min(at, len(answer.trace.proposals) - 1)]
    score = abs(found.signals["score"] - policy.above)
    return min(nearness(answer, at, policy.tau), score)


@pytest.mark.parametrize("params", ROUTERS, ids=str)
def test_same_tokens_and_decisions_as_in_process(
    pair: Stitch, reference: Stitch, params: dict[str, float]
) -> None:
    policy = make("router", **params)
    prompts = questions(min(24, PROBLEMS) if params else PROBLEMS)
    got, want = (one.batch(prompts, **asked(policy)) for one in (pair, reference))
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: near(want[i], at, policy),
    )
    for mine, other in zip(got, want, strict=True):
        assert check(mine.trace) is None
        if steps(mine) == steps(other):
            assert np.abs(np.subtract(scores(mine), scores(other))).max() < 1e-3
    told = [score for answer in got for score in scores(answer) if score]
    assert len(told) > len(prompts), "it was asked"
    assert_clean(pair)


def test_beside_other_rules_each_row_has_its_own(pair: Stitch, reference: Stitch) -> None:
    """In one batch: two routers, and rules that read no hidden state."""
    rules = [
        make("router"),
        make("entropy", tau=TAU),
        make("router", above=3.0),
        make("margin", bound=0.5),
        make("llm"),
    ]
    found = []
    for stitch in (pair, reference):
        streams = [
            stitch.stream(text, **asked(rule, top_logprobs=0, max_tokens=120))
            for text, rule in zip(questions(len(rules)), rules, strict=True)
        ]
        found.append([stream.result() for stream in streams])
    same = [steps(mine) == steps(other) for mine, other in zip(*found, strict=True)]
    assert sum(same) >= len(rules) - 1, same  # one may be a near tie
    assert all(check(answer.trace) is None for answer in found[0])


def constant(width: int, score: float) -> Network:
    """Says the same of every hidden state."""
    return Network([Layer(torch.zeros(1, width + 2), torch.tensor([score]))])


def test_a_file_that_was_trained_anew_is_read_anew(pair: Stitch, tmp_path: Path) -> None:
    """By the workers too, which hold what they have read."""
    width = 128
    card = {"tau": 0.0, "models": models_of(pair.models)}
    shares = []
    for score in (-1.0, 1.0):
        save(tmp_path, constant(width, score), card)
        answer = pair.generate(
            questions(1)[0], policy=make("router", file=str(tmp_path)), max_tokens=20
        )
        shares.append(answer.usage.llm_tokens / answer.usage.tokens)
        told = {p.signals["score"] for p in answer.trace.proposals if p.side is Side.SLM}
        assert told <= {0.0, score}
    assert shares[0] == 0 < shares[1]


def test_a_router_of_another_pair_is_refused(pair: Stitch, tmp_path: Path) -> None:
    models = models_of(pair.models)
    models["slm"]["sha256"] = {"model.safetensors": "0"}
    save(tmp_path, constant(128, 1.0), {"tau": TAU, "models": models})
    with pytest.raises(BadPair, match="was trained for another SLM"):
        pair.generate("x", policy=make("router", file=str(tmp_path)))


def test_sampled_too(pair: Stitch, reference: Stitch) -> None:
    drawn = Sampling(temperature=1.2, top_p=0.95, seed=5)
    options = asked(make("router"), sampling=drawn, max_tokens=80, top_logprobs=0)
    got, want = (one.batch(questions(6), **options) for one in (pair, reference))
    differ = sum(steps(a) != steps(b) for a, b in zip(got, want, strict=True))
    assert differ <= 1, "one may be a near tie of perturbed scores"
