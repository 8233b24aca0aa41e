"""Answers that the LLM writes again when nobody waits."""

from __future__ import annotations

import pytest

from rstitch.server.shadow import verdict
from tests.passes import noting_stops
from tests.server.serving import Running, serving, slowly


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"So \boxed{17}.", r"It is \boxed{17}", True),
        (r"So \boxed{17}.", r"So \boxed{18}.", False),
        ("17  apples\n", "17 apples", True),
        ("17 apples", "18 apples", False),
    ],
)
def test_what_is_compared(one: str, other: str, same: bool) -> None:
    assert (verdict(one) == verdict(other)) is same


@pytest.mark.parametrize("process", [False, True], ids=["here", "apart"])
def test_the_agreement_is_told_and_the_clients_numbers_are_not_changed(process: bool) -> None:
    with serving(process=process, failures={"shadow": 1.0}) as running:

        def told() -> dict[str, float]:
            return running.metrics()

        assert "rstitch_shadow_agreement" not in told()
        usage = running.chat()["usage"]
        running.until(lambda: "rstitch_shadow_agreement" in told())
        assert told()["rstitch_shadow_agreement"] in (0.0, 1.0)
        tokens = sum(told()[f'rstitch_tokens_total{{side="{one}"}}'] for one in ("slm", "llm"))
        assert tokens == usage["completion_tokens"]
        gives_way(running)
        alone(running)
        assert running.idle()


def gives_way(running: Running) -> None:
    """To whoever asks meanwhile; it is written again once nobody does."""
    engine, name = running.stitch.engine, "rstitch_shadow_answers_total"
    with noting_stops(engine), slowly(running.stitch):
        before, stops = running.metrics()[name], len(engine.stats()["stops"])
        running.chat()
        running.until(lambda: running.active and not running.served.door.inside)
        running.chat(model="builtin-slm", max_tokens=10)
        running.until(lambda: len(engine.stats()["stops"]) > stops)
        assert running.metrics()[name] == before
    running.until(lambda: running.metrics()[name] == before + 1)


def alone(running: Running) -> None:
    """One side alone is no answer to compare."""
    before = running.steps
    running.chat(model="builtin-slm", max_tokens=1)
    assert running.idle()
    assert running.steps <= before + 3
