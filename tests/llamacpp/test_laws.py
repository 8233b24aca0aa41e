"""The laws of DESIGN section 4 on llama.cpp: the tests of the torch engine, on another runner.

References that those tests take from an engine come from this one; plain forward passes are still
transformers' own. So these hold llama.cpp to transformers, and the engine on it to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rstitch.types import Sampling, Side
from tests.engine import test_group as groups
from tests.engine import test_idle as idles
from tests.engine import test_laws as laws
from tests.engine.test_group import test_samples_of_a_random_pair
from tests.engine.test_idle import test_answers_of_a_random_pair_are_the_same
from tests.engine.test_laws import (
    test_a_batch_equals_one_at_a_time,
    test_a_hand_off_does_not_change_the_draw,
    test_cancelling_everybody_after_any_event_leaves_nothing_behind,
    test_catching_up_equals_a_full_recompute,
    test_company_changes_no_signal,
    test_different_seeds_give_different_tokens,
    test_greedy_does_not_depend_on_the_seed,
    test_hysteresis_without_a_stay_is_the_entropy_rule,
    test_memory_is_used_again,
    test_one_model_on_both_sides_is_that_model,
    test_recorded_decisions_follow_from_recorded_signals,
    test_rewinding_is_the_loop_of_the_document,
    test_rewinding_with_epsilon_0_is_the_entropy_rule,
    test_stitching_is_algorithm_1,
    test_the_ends_of_other_rules_are_one_side_alone,
    test_the_same_seed_gives_the_same_tokens,
    test_without_a_seed_every_answer_is_another,
)
from tests.llamacpp import random_pair
from tests.models import engine as torch_engine
from tests.models import plain_greedy, prompt, run
from tests.same import assert_same, assert_same_answers, greedy_margin

__all__ = [
    "test_a_batch_equals_one_at_a_time",
    "test_a_hand_off_does_not_change_the_draw",
    "test_answers_of_a_random_pair_are_the_same",
    "test_cancelling_everybody_after_any_event_leaves_nothing_behind",
    "test_catching_up_equals_a_full_recompute",
    "test_company_changes_no_signal",
    "test_different_seeds_give_different_tokens",
    "test_greedy_does_not_depend_on_the_seed",
    "test_hysteresis_without_a_stay_is_the_entropy_rule",
    "test_memory_is_used_again",
    "test_one_model_on_both_sides_is_that_model",
    "test_recorded_decisions_follow_from_recorded_signals",
    "test_rewinding_is_the_loop_of_the_document",
    "test_rewinding_with_epsilon_0_is_the_entropy_rule",
    "test_samples_of_a_random_pair",
    "test_stitching_is_algorithm_1",
    "test_the_ends_of_other_rules_are_one_side_alone",
    "test_the_same_seed_gives_the_same_tokens",
    "test_without_a_seed_every_answer_is_another",
]

CACHED = (laws.written_alone, laws.one_at_a_time)


@pytest.fixture(autouse=True, scope="module")
def forget() -> Iterator[None]:
    """References are kept per process, and the other engine's are not wanted here."""
    for one in CACHED:
        one.cache_clear()
    yield
    for one in CACHED:
        one.cache_clear()


@pytest.fixture(autouse=True)
def on_llamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (laws, groups, idles):
        monkeypatch.setattr(module, "engine", random_pair.engine)


def test_it_is_llamacpp_that_is_tested() -> None:
    pair: Any = laws.engine()
    assert {type(one).__name__ for one in pair.runners.values()} == {"LlamaRunner"}


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("number", range(3))
def test_one_side_alone_is_transformers_greedy(side: Side, number: int) -> None:
    """And the other side caches nothing."""
    tau = 1.0 if side is Side.SLM else -1.0
    ids = prompt(5 + 9 * number, number)
    want = plain_greedy(side, ids, 40)
    for policy in (laws.POLICIES[side.label], laws.make("entropy", tau=tau)):
        pair = random_pair.engine()
        (got,) = run(pair, [laws.ask(policy, prompts={side: ids})])
        assert_same([got.tokens], [want], lambda _, at: greedy_margin(side, ids, want, at))
        assert pair.runners[side.other].nbytes == 0, "the other side ran"


@pytest.mark.parametrize("sampled", laws.SAMPLINGS)
@pytest.mark.parametrize("policy", ["tau 0.5", "tau 0.65", "random", "rewind", "llm"])
def test_both_engines_write_the_same(policy: str, sampled: str) -> None:
    seeded = {**laws.SAMPLINGS, "greedy": Sampling(seed=3)}  # coins are drawn by it too
    requests = [laws.ask(laws.POLICIES[policy], n, sampling=seeded[sampled]) for n in range(6)]
    got, want = run(random_pair.engine(), requests), run(torch_engine(), requests)
    assert_same_answers(got, want, requests)
