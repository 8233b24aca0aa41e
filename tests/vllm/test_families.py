"""Random pairs with sliding windows, experts and sinks on vLLM against the same in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rstitch.api import Stitch, load
from rstitch.explain import check
from rstitch.policy import Policy, make
from rstitch.stream import Answer
from rstitch.types import Side
from tests.families import rope, save
from tests.same import assert_same
from tests.vllm.asking import needs_vllm
from tests.vllm.test_pair import GREEDY, assert_clean, nearness, steps

SIZES: dict[str, Any] = {"head_dim": 32, "intermediate_size": 64, "max_position_embeddings": 256}
"""vLLM's CPU build has no attention for heads of 8, and expert layers in steps of 32."""
YARN = rope("yarn", factor=8.0, beta_fast=32.0, beta_slow=1.0, truncate=False)
"""As gpt-oss has it: vLLM asks for all of these by name."""
OWN: dict[str, dict[str, Any]] = {"gpt-oss": YARN}
PAIRS = [("mistral", "gemma3"), ("qwen3-moe", "mixtral"), ("gemma2", "gpt-oss")]
"""Windows, alone and beside full attention; experts; soft-caps, and sinks beside both. A window of
6 tokens is a tenth of an answer."""
TEXTS = [
    "How many apples are left?",
    "First I multiply, then I subtract.",
    "Mia has three boxes with seven apples each and gives four apples away.",
    "So",
    "Let me check that. So the answer is seventeen.",
    "Three boxes.",
]
TOKENS = 60


@dataclass(frozen=True)
class Both:
    """The same pair on vLLM and in this process."""

    vllm: Stitch
    here: Stitch

    def answers(self, policy: Policy) -> tuple[list[Answer], list[Answer]]:
        asked: dict[str, Any] = {
            "policy": policy, "sampling": GREEDY, "max_tokens": TOKENS, "top_logprobs": 2,
            "ignore_eos": True, "raw": True,
        }  # fmt: skip
        return self.vllm.batch(TEXTS, **asked), self.here.batch(TEXTS, **asked)


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    needs_vllm()
    names = {}
    for side, family in zip(Side, request.param, strict=True):
        root = tmp_path_factory.mktemp(side.label)
        hidden = 64 if side is Side.LLM else 32
        names[side.label] = str(
            save(family, root, hidden_size=hidden, **SIZES, **OWN.get(family, {}))
        )
    shared: dict[str, Any] = {**names, "max_rows": 4, "dtype": "float32", "kv_memory": 0.2}
    with load(engine="vllm", **shared) as vllm, load(**shared) as here:
        yield Both(vllm, here)


def tau(both: Both) -> float:
    """Above which the SLM alone is at 3 positions in 10."""
    alone = both.here.batch(TEXTS, policy=make("slm"), max_tokens=TOKENS, ignore_eos=True, raw=True)
    found = [p.entropy for answer in alone for p in answer.trace.proposals]
    return float(np.quantile(found, 0.7))


def test_same_tokens_as_in_process(both: Both) -> None:
    bound = tau(both)
    got, want = both.answers(make("entropy", tau=bound))
    written = sum(answer.usage.llm_tokens for answer in want)
    assert 0 < written < TOKENS * len(TEXTS), "both sides write"
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: nearness(want[i], at, bound),
    )
    for mine, other in zip(got, want, strict=True):
        assert check(mine.trace) is None
        if steps(mine) == steps(other):
            entropies = [[p.entropy for p in one.trace.proposals] for one in (mine, other)]
            assert np.abs(np.subtract(*entropies)).max() < 1e-4
    assert_clean(both.vllm)


def test_hand_offs_by_coins(both: Both) -> None:
    """Short and long stays on both sides, so that catch-ups of all lengths cross the windows."""
    got, want = both.answers(make("random", p=0.15, q=0.2))
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: nearness(want[i], at, 2.0),
    )
    assert min(answer.usage.handoffs for answer in want) > 4
