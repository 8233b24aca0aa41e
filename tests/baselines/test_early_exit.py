"""Early exit by hand: which passes are run, what is kept, what is counted."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from rstitch.baselines import Written, make
from rstitch.engine.marks import Marks
from rstitch.errors import BadRequest
from rstitch.types import Sampling, Side
from tests.baselines.scripts import LLM, Tell, knowing, llm_alone, odds, write
from tests.engine.asking import Letters
from tests.fakes import EOS, sure
from tests.models import engine, prompt

OPEN, CLOSE, BLANK = 12, 13, 14
PROMPTS = {LLM: (6, 7, OPEN)}


class Lines(Letters):
    """Letters, with one token that is a blank line."""

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        text = super().decode(ids, skip_special_tokens=skip_special_tokens)
        return text.replace("m", "\n\n")


MARKS = Marks(dict.fromkeys(Side, (OPEN, CLOSE)), dict.fromkeys(Side, Lines()))
THOUGHT = [9, BLANK, 10, BLANK, 11, BLANK, CLOSE, 3, EOS]


def thinker(*chances: float) -> Tell:
    """Thinks as above. Where the thought is closed after n steps, the answer is 3 with the n-th
    chance, else 4; then it ends."""

    def tell(ids: list[int]) -> Tensor:
        if CLOSE not in ids:
            return sure(THOUGHT[len(ids)])
        if ids[-1] != CLOSE:
            return sure(EOS)
        chance = (*chances, 1.0)[ids.count(BLANK) - 1]
        return odds(t3=chance, t4=1 - chance)

    return tell


def early(llm: Tell, params: dict[str, Any] | None = None, **settings: Any) -> tuple[Written, Any]:
    """The answer, and the tokens fed in each pass of the LLM."""
    pair = knowing(lambda ids: sure(2), llm, MARKS)
    written = write(pair, make("early-exit", **(params or {})), PROMPTS, **settings)
    assert all(f.side is LLM for f in written.forwards)
    return written, [fed for (fed,) in pair.runners[LLM].calls]  # type: ignore[attr-defined]


def test_rejected_then_accepted() -> None:
    """After the first step the answer 3 has 0.6, after the second 0.97. A trial's first pass also
    tells how the thought goes on: 10 is kept after the rejected trial without another pass."""
    written, fed = early(thinker(0.6, 0.97))
    assert written.tokens == (9, BLANK, 10, BLANK, CLOSE, 3, EOS)
    assert fed == [[6, 7, OPEN], [9], [BLANK, CLOSE], [3], [10], [BLANK, CLOSE], [3]]
    assert (written.trials, written.trial_tokens, written.exited) == (2, 2, True)
    assert written.reason == "stop"
    assert 0 < written.trial_seconds < written.seconds
    assert 0 < written.check_share < 1


def test_all_rejected_is_the_llm_alone() -> None:
    """Three boundaries; at the third the thought closes by itself, which is no trial."""
    written, fed = early(thinker(0.6, 0.6))
    assert written.tokens == tuple(THOUGHT)
    assert fed[-3:] == [[BLANK, CLOSE], [CLOSE], [3]]
    assert (written.trials, written.trial_tokens, written.exited) == (2, 4, False)


def test_confidence_is_the_geometric_mean_without_the_end() -> None:
    """Two tokens of 0.5 and 0.98: the mean is exactly 0.7, to either side of the threshold."""

    def tell(ids: list[int]) -> Tensor:
        if CLOSE not in ids:
            return sure(THOUGHT[len(ids)])
        after = len(ids) - ids.index(CLOSE)
        return [odds(t3=0.5, t4=0.3, t5=0.2), odds(t4=0.98, t5=0.02), sure(EOS)][min(after, 3) - 1]

    assert early(tell, {"threshold": 0.699})[0].exited
    assert not early(tell, {"threshold": 0.701})[0].exited


def test_what_is_induced_is_fed_with_the_mark_and_kept() -> None:
    def tell(ids: list[int]) -> Tensor:
        if CLOSE not in ids:
            return sure(THOUGHT[len(ids)])
        return {CLOSE: sure(4), 4: sure(5), 5: odds(t3=0.99, t2=0.01), 3: sure(EOS)}[ids[-1]]

    written, fed = early(tell, {"induce": (4, 5)})
    assert written.tokens == (9, BLANK, CLOSE, 4, 5, 3, EOS)
    assert fed == [[6, 7, OPEN], [9], [BLANK, CLOSE, 4, 5], [3]]


def test_a_trial_cut_short_goes_on_as_the_answer() -> None:
    """One token is enough to judge; the end is written after it was accepted."""
    written, fed = early(thinker(0.97), {"trial_tokens": 1})
    assert written.tokens == (9, BLANK, CLOSE, 3, EOS)
    assert fed == [[6, 7, OPEN], [9], [BLANK, CLOSE], [3]]
    rejected, _ = early(thinker(0.6, 0.6), {"trial_tokens": 1})
    assert (rejected.trials, rejected.trial_tokens) == (2, 2)


def test_an_empty_trial_is_rejected() -> None:
    """An end of text right after the mark says nothing."""
    nothing = lambda ids: sure(EOS) if CLOSE in ids else sure(THOUGHT[len(ids)])  # noqa: E731
    written, _ = early(nothing, {"threshold": 0.0})
    assert not written.exited and written.trials == 2


@pytest.mark.parametrize("max_tokens", range(1, 10))
def test_max_tokens_bounds_trials_too(max_tokens: int) -> None:
    written, _ = early(thinker(0.6, 0.97), max_tokens=max_tokens)
    assert len(written.tokens) == min(max_tokens, 7)
    longest = max(f.context for f in written.forwards)
    assert longest <= len(PROMPTS[LLM]) + max_tokens
    assert written.reason == ("stop" if max_tokens >= 7 else "length")


def test_no_trials_outside_a_thought() -> None:
    """Blank lines of the answer, and a prompt that opens no thought."""
    outside = lambda ids: sure((9, BLANK, 9, BLANK, EOS)[len(ids)])  # noqa: E731
    pair = knowing(lambda ids: sure(2), outside, MARKS)
    written = write(pair, make("early-exit", threshold=0.0), {LLM: (6, 7, 8)})
    assert written.trials == 0 and written.tokens[-1] == EOS


@pytest.mark.parametrize("given", [Sampling(), Sampling(temperature=0.9, top_p=0.95, seed=5)])
def test_never_confident_is_the_llm_alone(given: Sampling) -> None:
    """Sampled too: what trials draw has no part in what the thought draws. The random LLM opens
    and closes thoughts and writes blank lines now and then."""
    pair, trials = engine(), 0
    for i in range(6):
        prompts = {LLM: (*prompt(3 + 5 * i, i), 5)}
        written = write(pair, make("early-exit", threshold=1), prompts, given, max_tokens=40)
        assert list(written.tokens) == llm_alone(pair, prompts, given, max_tokens=40).tokens
        trials += written.trials
    assert trials > 3, "the test says little without trials"


def test_a_pair_without_thoughts_is_refused() -> None:
    pair = knowing(lambda ids: sure(2), lambda ids: sure(3))
    with pytest.raises(BadRequest, match="has no <think> and </think>; name them"):
        write(pair, make("early-exit"), PROMPTS)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"threshold": "high"}, "threshold is 'high'"),
        ({"trial_tokens": 0}, "trial_tokens is 0"),
        ({"induce": "so:"}, "induce is 'so:'; without a tokenizer, give token ids"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        early(thinker(), params)
