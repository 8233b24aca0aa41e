"""The pair for orders is what docs/pair.md says: what its SLM is unsure of, its LLM knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rstitch
from rstitch.api import Answer, Stitch
from rstitch.evals.grade import is_right
from rstitch.pairs.recipe.splits import spread
from rstitch.pairs.recipe.subjects import ORDERS

PROBLEMS = 48
ASKED = spread(ORDERS.problems("dev"), PROBLEMS)


@pytest.fixture(scope="module")
def orders() -> Iterator[Stitch]:
    with rstitch.load(pair="builtin-order", max_rows=PROBLEMS, threads=1) as stitch:
        yield stitch


def answers(pair: Stitch, policy: str | None) -> list[Answer]:
    """By a rule; None for the pair's own, entropy at its tau."""
    return pair.batch([p.question for p in ASKED], policy=policy, max_tokens=300)


def right(given: list[Answer]) -> int:
    return sum(is_right(one.text, p.answer) for one, p in zip(given, ASKED, strict=True))


def test_stitched_is_as_right_as_the_llm_in_fewer_tokens(orders: Stitch) -> None:
    """Greedy, so the outcome is the same each time; docs/pair.md has the figures of thousands."""
    slm, stitched, llm = (answers(orders, policy) for policy in ("slm", None, "llm"))
    assert right(slm) < right(stitched) - PROBLEMS // 8
    assert right(stitched) >= right(llm) - 2
    tokens = [sum(one.usage.tokens for one in given) for given in (stitched, llm)]
    assert tokens[0] < 0.75 * tokens[1]
    assert 0.05 < sum(one.usage.llm_tokens for one in stitched) / tokens[0] < 0.3
