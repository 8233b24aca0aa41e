"""transformers' own generation on the tiny pair: the same greedy tokens, and what is refused."""

from __future__ import annotations

from functools import lru_cache

import pytest

import rstitch
from rstitch import baselines
from rstitch.baselines.outside import Outside, Setting
from rstitch.errors import BadPair, BadRequest
from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests import pair, wild


@lru_cache
def outside() -> Outside:
    return Outside(pair.stitch())


def prompt() -> tuple[int, ...]:
    return pair.stitch().prompts(pair.QUESTION, policy=make("llm"))[Side.LLM]


def test_plain_and_assisted_are_the_llm_alone() -> None:
    """The two models have not as many rows of logits; transformers by itself would refuse."""
    never = baselines.make("early-exit", threshold=1)
    alone = baselines.answer(pair.stitch(), never, pair.QUESTION, max_tokens=30)
    for written in (
        outside().generate(prompt(), 30),
        outside().generate(prompt(), 30, Setting(attention="eager", cache="static")),
        outside().assisted(prompt(), 30),
        outside().assisted(prompt(), 30, k=3),
    ):
        assert written.tokens == alone.tokens, written.method
        assert written.text == alone.text
        assert written.reason == alone.reason
        assert written.seconds > 0


def test_sampled_by_seed() -> None:
    def tokens(seed: int) -> tuple[int, ...]:
        given = Sampling(temperature=1.0, top_k=20, top_p=0.9, min_p=0.01, seed=seed)
        return outside().assisted(prompt(), 20, sampling=given, k=2).tokens

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


def test_other_special_tokens_are_refused() -> None:
    found = wild.pair()
    stitch = rstitch.load(slm=str(found.slm), llm=str(found.llm), tau=0.5)
    with pytest.raises(BadPair, match="needs the same tokens on both sides"):
        Outside(stitch).assisted((1, 2), 5)


def test_a_gguf_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Outside(pair.stitch())
    models = {side: _Named("large.gguf") for side in Side}
    monkeypatch.setattr(one, "stitch", type("S", (), {"models": models, "engine": None}))
    with pytest.raises(BadRequest, match=r"large.gguf is for llama.cpp; transformers needs"):
        one.generate((1, 2), 5)


class _Named:
    def __init__(self, source: str) -> None:
        self.source = source
