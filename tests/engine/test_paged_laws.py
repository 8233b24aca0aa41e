"""The laws of test_laws.py with the KV of both sides in pages, and decoding in blocks of steps of
fixed shape."""

from __future__ import annotations

import pytest

from tests import models
from tests.engine.test_laws import (  # noqa: F401
    test_a_batch_equals_one_at_a_time,
    test_cancelling_everybody_after_any_event_leaves_nothing_behind,
    test_catching_up_equals_a_full_recompute,
    test_company_changes_no_signal,
    test_one_model_on_both_sides_is_that_model,
    test_one_side_alone_is_transformers_greedy,
    test_recorded_decisions_follow_from_recorded_signals,
    test_rewinding_is_the_loop_of_the_document,
    test_stitching_is_algorithm_1,
    test_the_ends_of_other_rules_are_one_side_alone,
    test_the_same_seed_gives_the_same_tokens,
)


@pytest.fixture(autouse=True, params=[("paged", None), ("static", 1), ("static", 3)], ids=str)
def _pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, steps = request.param
    monkeypatch.setattr(models, "LAYOUT", layout)
    monkeypatch.setattr(models, "STEPS", steps)
