"""Speculative decoding by hand, and greedy equality with the LLM alone."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.baselines import make
from rstitch.errors import BadRequest
from rstitch.types import Sampling, Side
from tests.baselines.scripts import LLM, SLM, knowing, llm_alone, odds, write
from tests.fakes import EOS, Scripted, says, scripted, sure
from tests.models import engine, plain_greedy, prompt
from tests.same import assert_same, greedy_margin

TEN = [sure(2 + i) for i in range(10)]
"""Tokens 2, 3, 4 .. 11."""
RIGHT = says(*TEN, then=sure(EOS))
WRONG = says(then=sure(15))


def calls(pair: Any, side: Side) -> list[list[int]]:
    runner = pair.runners[side]
    assert isinstance(runner, Scripted)
    return [fed for (fed,) in runner.calls]


# -- by hand --------------------------------------------------------------------------------------


def test_a_draft_that_is_always_right() -> None:
    """Three drafted, one of the LLM's own: ten tokens and the end in three passes of the LLM. The
    first reads the prompt too; the SLM catches up over its own last draft and the LLM's token."""
    pair = scripted(RIGHT, RIGHT)
    written = write(pair, make("speculative", k=3))
    assert written.tokens == (*range(2, 12), EOS)
    assert written.sides == (SLM, SLM, SLM, LLM) * 2 + (SLM, SLM, SLM)
    assert calls(pair, LLM) == [[6, 7, 8, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, EOS]]
    assert calls(pair, SLM) == [[4, 5], [2], [3], [4, 5], [6], [7], [8, 9], [10], [11]]
    assert (written.drafted, written.accepted, written.acceptance) == (9, 9, 1.0)
    assert (written.reason, written.llm_passes) == ("stop", 3)
    assert written.tokens_per_pass == pytest.approx(11 / 3)


def test_a_draft_that_is_always_wrong() -> None:
    """Every pass of the LLM brings its own token, and both sides forget the drafted ones."""
    pair = scripted(WRONG, RIGHT)
    written = write(pair, make("speculative", k=2))
    assert written.tokens == (*range(2, 12), EOS)
    assert set(written.sides) == {LLM}
    assert calls(pair, LLM)[:3] == [[6, 7, 8, 15, 15], [2, 15, 15], [3, 15, 15]]
    assert calls(pair, SLM)[:5] == [[4, 5], [15], [2], [15], [3]]
    assert (written.drafted, written.accepted, written.llm_passes) == (22, 0, 11)
    assert (written.rejected, written.acceptance) == (11, 0.0)


def test_a_rejection_in_the_middle() -> None:
    """SLM: 2 3 15 5. The LLM takes 2 3, writes 4 itself; 5 is drafted anew."""
    slm = says(sure(2), sure(3), sure(15), *TEN[3:], then=sure(EOS))
    pair = scripted(slm, RIGHT)
    written = write(pair, make("speculative", k=4), max_tokens=8)
    assert written.tokens == tuple(range(2, 10))
    assert written.sides == (SLM, SLM, LLM, SLM, SLM, SLM, SLM, LLM)
    assert calls(pair, LLM) == [[6, 7, 8, 2, 3, 15, 5], [4, 5, 6, 7, 8]]
    assert (written.drafted, written.accepted, written.reason) == (8, 6, "length")
    assert (written.rejected, written.acceptance) == (1, 6 / 7)


def test_adapting_drafts_two_more_or_one_less() -> None:
    """k 2: both accepted, then 4 of which the first is rejected, then 3."""
    llm = says(*TEN[:3], sure(14), *TEN[4:], then=sure(EOS))
    pair = scripted(says(*TEN, then=sure(EOS)), llm)
    write(pair, make("speculative", k=2, adapt=True))
    assert [len(fed) - 1 for fed in calls(pair, LLM)][1:3] == [4, 3]
    assert len(calls(pair, LLM)[0]) == 3 + 2


@pytest.mark.parametrize("max_tokens", range(1, 12))
def test_max_tokens_inside_a_draft(max_tokens: int) -> None:
    """As many tokens as asked for, and none drafted that could not be kept."""
    pair = scripted(RIGHT, RIGHT)
    written = write(pair, make("speculative", k=4), max_tokens=max_tokens)
    assert written.tokens == (*range(2, 12), EOS)[:max_tokens]
    assert written.reason == ("stop" if max_tokens == 11 else "length")
    assert max(f.context for f in written.forwards if f.side is LLM) < 3 + max_tokens


@pytest.mark.parametrize("stop", [{"stop_token_ids": frozenset({4})}, {}])
def test_the_end_inside_a_draft(stop: dict[str, Any]) -> None:
    """Nothing is drafted after a token that would end the answer; with it the answer ends."""
    llm = RIGHT if stop else says(sure(2), sure(3), sure(EOS))
    pair = scripted(llm, llm)
    written = write(pair, make("speculative", k=8), **stop)
    assert written.tokens == (2, 3, 4 if stop else EOS)
    assert written.reason == "stop"
    assert len(calls(pair, LLM)) == 1 and len(calls(pair, SLM)) == 3


def test_an_end_that_the_llm_does_not_want() -> None:
    pair = scripted(says(sure(2), sure(EOS), *TEN[2:]), RIGHT)
    assert write(pair, make("speculative", k=8), max_tokens=6).tokens == tuple(range(2, 8))


def test_going_on_after_the_end() -> None:
    llm = says(sure(2), sure(EOS), sure(3))
    written = write(scripted(llm, llm), make("speculative"), ignore_eos=True, max_tokens=5)
    assert written.tokens[:3] == (2, EOS, 3) and len(written.tokens) == 5


@pytest.mark.parametrize("slm_length", [4, 6, 64])
@pytest.mark.parametrize("llm_length", [5, 8, 12])
def test_contexts_that_fill_up(slm_length: int, llm_length: int) -> None:
    """The LLM's ends the answer where it ends the LLM alone; with the SLM's, drafting ends."""
    pair = knowing(lambda ids: RIGHT(len(ids)), lambda ids: RIGHT(len(ids)))
    pair.runners[SLM].max_length = pair.rows.limits[SLM] = slm_length
    pair.runners[LLM].max_length = pair.rows.limits[LLM] = llm_length
    alone = llm_alone(pair)
    written = write(pair, make("speculative", k=4))
    assert list(written.tokens) == alone.tokens
    assert written.reason == alone.finished.reason
    assert max(f.context for f in written.forwards if f.side is SLM) <= slm_length


def test_a_long_prompt_is_read_in_chunks() -> None:
    pair = scripted(RIGHT, RIGHT, max_step_tokens=4)
    prompts = {SLM: (4, 5), LLM: (6, 7, 8)}
    written = write(pair, make("speculative", k=3), prompts)
    assert written.tokens == (*range(2, 12), EOS)
    assert calls(pair, LLM)[:2] == [[6, 7], [8, 2, 3, 4]]


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_a_bad_k_is_refused(k: Any) -> None:
    with pytest.raises(BadRequest, match=f"k is {k!r}"):
        make("speculative", k=k)


# -- equality -------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{"k": 1}, {"k": 4}, {"k": 9}, {"k": 3, "adapt": True}])
def test_greedy_is_the_llm_alone(params: dict[str, Any]) -> None:
    """On random models, against transformers' `generate`: prompts of 3 to 33 tokens."""
    pair, prompts = engine(), [prompt(3 + 6 * i, i) for i in range(6)]
    got = [
        write(pair, make("speculative", **params), dict.fromkeys(Side, p), max_tokens=40)
        for p in prompts
    ]
    want = [plain_greedy(LLM, p, 40) for p in prompts]
    assert_same(
        [one.tokens for one in got],
        [tuple(one) for one in want],
        lambda i, at: greedy_margin(LLM, prompts[i], want[i], at),
    )
    assert sum(one.accepted for one in got) > 0, "the test says little without accepted drafts"
    assert all(one.accepted < one.drafted for one in got)


SAMPLINGS = {
    "greedy": Sampling(),
    "hot": Sampling(temperature=1.2, seed=7),
    "filtered": Sampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, seed=2**40 + 3),
}


@pytest.mark.parametrize("sampled", SAMPLINGS)
def test_one_model_on_both_sides_accepts_all_and_is_that_model(sampled: str) -> None:
    """Sampled too: a draft is the draw that the model would have made there by itself."""
    pair, given = engine(llm=SLM), SAMPLINGS[sampled]
    for i in range(4):
        prompts = dict.fromkeys(Side, prompt(3 + 9 * i, i))
        written = write(pair, make("speculative", k=4), prompts, given, max_tokens=30)
        assert written.accepted == written.drafted > 0
        assert list(written.tokens) == llm_alone(pair, prompts, given, max_tokens=30).tokens


def test_seeds() -> None:
    pair, prompts = engine(), dict.fromkeys(Side, prompt(9))

    def tokens(seed: int) -> tuple[int, ...]:
        given = Sampling(temperature=1.0, seed=seed)
        return write(pair, make("speculative"), prompts, given, max_tokens=15).tokens

    assert tokens(1) == tokens(1)
    assert len({tokens(seed) for seed in range(10)}) == 10


def test_a_seed_that_nobody_gave_is_on_record() -> None:
    llm = lambda ids: odds(t3=0.5, t4=0.5)  # noqa: E731
    pair = knowing(llm, llm)
    first = write(pair, make("speculative"), sampling=Sampling(temperature=1.0))
    assert first.sampling.seed is not None
    assert write(pair, make("speculative"), sampling=first.sampling).tokens == first.tokens
