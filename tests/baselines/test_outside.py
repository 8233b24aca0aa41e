"""transformers' own generation on the tiny pair: the same greedy tokens, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

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


def test_what_a_model_s_own_file_asks_for_is_left_out(tmp_path: Path) -> None:
    """Some ship a repetition penalty, which the LLM alone, as it runs here, has not."""
    llm = pair.pair().copy(Side.LLM, tmp_path / "llm")
    path = llm / "generation_config.json"
    asked = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**asked, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1}))
    with rstitch.load(slm=str(pair.pair().slm), llm=str(llm)) as stitch:
        one = Outside(stitch)
        for written in (one.generate(prompt(), 30), one.assisted(prompt(), 30)):
            assert written.tokens == outside().generate(prompt(), 30).tokens


def test_the_revision_and_the_trust_of_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them transformers would load another commit than the engine did."""
    asked, load = [], AutoModelForCausalLM.from_pretrained

    def watched(source: str, revision: str, trust_remote_code: bool, **options: Any) -> Any:
        asked.append((revision, trust_remote_code))
        return load(source, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    models = pair.stitch().models
    for side, revision in zip(Side, "ab", strict=True):
        told = replace(models[side], revision=revision, trust_remote_code=True)
        monkeypatch.setitem(models, side, told)
    Outside(pair.stitch()).assisted(prompt(), 3)
    assert sorted(asked) == [("a", True), ("b", True)]


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
