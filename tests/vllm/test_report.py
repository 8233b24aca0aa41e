"""Where the numbers of a report are, and what is refused because none holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from rstitch.errors import BadModel, BadRequest
from rstitch.policy import make
from rstitch.policy.entropy import EntropyThreshold
from rstitch.vllm.asked import KEY, Asked
from rstitch.vllm.report import AT_MEMORY, ENOUGH, FIXED, WIDTH, Layout
from rstitch.vllm.side import Shape


@dataclass(frozen=True, slots=True)
class Greedy(EntropyThreshold):
    name: ClassVar[str] = "greedy"
    reads: ClassVar[tuple[str, ...]] = ("top_probs",)
    top: ClassVar[int] = 9


def test_padding_carries_one_copy_and_no_padding_two() -> None:
    rule = make("entropy", tau=0.1)
    padded = Layout.of(rule, 1000, 900, 0)
    assert padded.asked == [999 - i for i in range(len(FIXED))] + [999 - AT_MEMORY]
    assert padded.stop == 900
    whole = Layout.of(rule, 1000, 1000, 0)
    assert len(whole.asked) == 2 * len(padded.asked)
    assert whole.asked[len(padded.asked)] == 999 - WIDTH
    assert whole.stop == 999


def test_everything_asked_for_fits_into_what_vllm_tells() -> None:
    longest = Layout.of(make("random", p=0.1, q=0.1), ENOUGH, ENOUGH, 20)
    assert len(longest.asked) <= 128
    assert min(longest.asked) >= 0


def test_what_no_report_holds_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="top_logprobs is 21; vLLM tells at most 20"):
        Layout.of(make("slm"), 1000, 900, 21)
    limited = make("steered", tau=0.1, max_llm_share=0.2)
    assert len(Layout.of(limited, 1000, 1000, 20).asked) == 128  # the widest there is
    with pytest.raises(BadRequest, match="'greedy' has 9 signals"):
        Layout.of(Greedy(0.1), 1000, 900, 0)
    with pytest.raises(BadModel, match="tiny has 100 columns"):
        Shape("tiny", 100, 100, 64, 1)


def test_arguments_of_a_turn_travel_and_strange_ones_are_refused() -> None:
    asked = Asked(
        policy={"name": "window", "tau": 0.5, "window": 3}, side=1, columns=1000, vocab_size=900,
        prompt=3, start=2, memory=(0.5, 1.0), stop=900, seed=2**62, accepted=1.5,
    )  # fmt: skip
    found = Asked.of(asked.as_args())
    assert found == asked
    assert found.rule == make("window", tau=0.5, window=3)
    assert Asked.of(None) is None
    assert Asked.of({"other": 1}) is None
    strange = {**asked.as_args()[KEY], "policy": {"name": "nobody"}}
    with pytest.raises(ValueError, match="extra_args.*nobody"):
        Asked.of({KEY: strange})
    with pytest.raises(ValueError, match="extra_args"):
        Asked.of({KEY: {"side": 1}})
