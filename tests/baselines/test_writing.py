"""One answer from its start to its end, however it ends: nothing may be left behind."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from rstitch.baselines import Baseline, Writing, make
from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import make as make_policy
from rstitch.types import Sampling, Side
from tests.baselines.scripts import LLM, SLM, knowing, write
from tests.engine.asking import Letters
from tests.fakes import EOS, PROMPTS, says, scripted, sure
from tests.models import MARKS, assert_clean, engine, prompt

RIGHT = says(*(sure(2 + i) for i in range(10)), then=sure(EOS))
METHODS = [make(name) for name in ("speculative", "gated-speculative", "early-exit")]


def writing(pair: Any, baseline: Baseline, **settings: Any) -> Writing:
    settings = {"max_tokens": 30, **settings}
    return Writing(baseline, pair, dict.fromkeys(Side, (*prompt(9), 5)), **settings)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("after", [0, 1, 7])
def test_closed_early(method: Baseline, after: int) -> None:
    pair = engine()
    one = writing(pair, method)
    for _ in range(after):
        next(one)
    one.close()
    assert_clean(pair)
    assert len(one.written.tokens) == after
    assert one.written.reason == "cancelled"
    seconds = one.written.seconds
    assert 0 < seconds == one.written.seconds, "the clock has stopped"
    assert list(one) == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("shift", [{"presence_penalty": 1.0}, {"logit_bias": ((3, 1.0),)}], ids=str)
def test_a_bias_or_a_penalty_is_refused(method: Baseline, shift: dict[str, Any]) -> None:
    """They would be left out without a word."""
    (name,) = shift
    with pytest.raises(BadRequest, match=f"^{method.name} knows no {name}; leave it out$"):
        writing(engine(), method, sampling=Sampling(**shift))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_let_go_of(method: Baseline) -> None:
    """Without a collection of cycles, since memory should not wait for one."""
    pair = engine()
    gc.disable()
    try:
        one = writing(pair, method)
        next(one)
        assert pair.runners[LLM].kv.length  # type: ignore[attr-defined]
        del one
        assert_clean(pair)
    finally:
        gc.enable()


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("side", Side)
def test_a_pass_that_fails(side: Side, at: int) -> None:
    """Whichever it is; what was written before stays on record, with its passes."""
    pair = scripted(RIGHT, RIGHT)
    runner: Any = pair.runners[side]
    runner.fail_on = lambda batch: len(runner.calls) == at
    one = Writing(make("speculative", k=1), pair, PROMPTS, max_tokens=20)
    kept = []
    with pytest.raises(RuntimeError, match="the device is on fire"):
        for token in one:
            kept.append(token.token)
    assert_clean(pair)
    assert list(one.written.tokens) == kept == list(range(2, 2 + 2 * at))[: len(kept)]
    assert one.written.reason == "cancelled" and one.written.forwards
    runner.fail_on = lambda batch: False
    assert write(pair, make("speculative")).reason == "stop", "the next answer is not affected"


def test_memory_is_flat() -> None:
    pair, sizes = engine(), set()
    for i in range(12):
        for method in METHODS:
            one = writing(pair, method)
            for _ in range(i % 4 + 4):
                next(one)
            one.close()
        sizes.add(sum(runner.nbytes for runner in pair.runners.values()))
    assert_clean(pair)
    assert len(sizes) <= 2, f"KV memory grew: {sorted(sizes)}"


def test_two_at_a_time() -> None:
    """Each has rows of its own."""
    pair = engine()
    alone = [writing(pair, method).result().tokens for method in METHODS[:2]]
    both = [writing(pair, method) for method in METHODS[:2]]
    tokens: list[list[int]] = [[], []]
    for _ in range(30):
        for one, mine in zip(both, tokens, strict=True):
            mine += [kept.token for kept in [next(one, None)] if kept]
    assert [tuple(mine) for mine in tokens] == alone
    assert_clean(pair)


def test_text_and_stop_strings() -> None:
    """Letters: a b c .. for 2 3 4 ..; the stop string is cut off as in the engine's answers."""
    pair = scripted(RIGHT, RIGHT, Letters())
    one = Writing(make("speculative", k=3), pair, PROMPTS, max_tokens=20, stop=("ef",))
    pieces = [kept.text for kept in one]
    assert one.written.text == "".join(pieces) == "abcd"
    assert one.written.tokens == (2, 3, 4, 5, 6, 7)
    assert one.written.reason == "stop"


def test_text_held_back_comes_at_the_end() -> None:
    pair = scripted(RIGHT, RIGHT, Letters())
    written = write(pair, make("speculative"), max_tokens=4, stop=("dx",))
    assert written.text == "abcd"


def test_refused() -> None:
    pair = engine()
    pair.submit(Request({LLM: prompt(4)}, make_policy("llm")))
    with pytest.raises(BadRequest, match="answers are being written"):
        writing(pair, METHODS[0])
    pair = scripted(RIGHT, RIGHT)
    for settings, told in (
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"prompts": {SLM: (1,), LLM: ()}}, "the LLM's prompt is empty"),
        ({"prompts": {SLM: (1,) * 64, LLM: (1,)}}, "the prompt has 64 tokens for the SLM"),
    ):
        with pytest.raises(BadRequest, match=told):
            Writing(METHODS[0], pair, **{"prompts": PROMPTS, "max_tokens": 4, **settings})
    assert_clean(pair)


def test_spec_tells_method_and_parameters() -> None:
    written = write(knowing(lambda ids: sure(3), lambda ids: sure(3), MARKS), make("speculative"))
    assert written.method == {"name": "speculative", "k": 5, "adapt": False}
