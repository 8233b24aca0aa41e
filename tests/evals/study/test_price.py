"""Prices recover what made the seconds, and say how far off they are."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rstitch.evals.study import price

TRUE = (0.01, 0.04, 0.0002, 0.0007, 0.05)


def answers(noise: float, n: int = 40) -> list[tuple[str, tuple[float, ...], float]]:
    draw = random.Random(0)
    found = []
    for i in range(n):
        row = (
            float(draw.randrange(50, 900)), float(draw.randrange(5, 400)),
            float(draw.randrange(50, 300)), float(draw.randrange(60, 900)), 1.0,
        )  # fmt: skip
        seconds = sum(a * b for a, b in zip(TRUE, row, strict=True))
        found.append((f"p-{i // 4}", row, seconds * draw.uniform(1 - noise, 1 + noise)))
    return found


def test_exact_seconds_give_the_true_costs() -> None:
    found = price.fit(answers(0.0))
    assert found is not None and found.answers == 40
    assert found.coefficients == pytest.approx(TRUE, rel=1e-6)
    assert found.error < 1e-6 and abs(found.bias) < 1e-6


def test_noise_is_told_and_no_cost_is_below_zero() -> None:
    found = price.fit(answers(0.3))
    assert found is not None and min(found.coefficients) >= 0
    assert 0.1 < found.error < 0.25, found  # uniform noise of 30 % is off by 15 % in the mean
    assert abs(found.bias) < 0.1


def test_one_side_alone_and_too_few() -> None:
    alone = [(p, (row[0], 0.0, row[2], 0.0, 1.0), s) for p, row, s in answers(0.1)]
    found = price.fit(alone)
    assert found is not None and found.coefficients[1] == found.coefficients[3] == 0.0
    assert price.fit(alone[:2]) is None


def record(*traces: Any, reason: str = "stop") -> dict[str, Any]:
    return {"traces": list(traces), "reason": reason}


def test_what_is_counted_and_what_has_no_price() -> None:
    trace = {"forwards": {"side": [0, 0, 1, 0], "new_tokens": [9, 1, 12, 3]}}
    assert price.counts(record(trace)) == (3.0, 1.0, 10.0, 11.0, 1.0)
    assert price.priceable(record(trace))
    drafts = {"forwards": [[0, 1, 9, 9, 9, 0.1]]}
    for other in (record(), record(drafts), record(trace, trace), record(trace, reason="failed")):
        assert not price.priceable(other)
