"""Baselines on loaded pairs: by name, with the pair's templates, and equal to the LLM alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch

import rstitch
from rstitch import baselines
from rstitch.api import Answer, Stitch
from rstitch.baselines import work
from rstitch.engine.runner import Extend
from rstitch.errors import BadPair, BadRequest
from rstitch.pairs import BUILTIN
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests import pair, wild
from tests.models import assert_clean
from tests.same import assert_same

HOT = Sampling(temperature=0.8, top_p=0.95, seed=11)
NEEDS_WEIGHTS = pytest.mark.skipif(
    not (BUILTIN / "pair.json").is_file(), reason="the built-in weights are not there"
)
PROBLEMS = 40
INDUCE = "\nThe answer is \\boxed{"


def test_names() -> None:
    assert list(baselines.REGISTRY) == ["speculative", "gated-speculative", "early-exit"]
    for name in baselines.REGISTRY:
        assert baselines.make(name).spec()["name"] == name
    assert baselines.make("speculative", k=3).spec() == {
        "name": "speculative",
        "k": 3,
        "adapt": False,
    }


def test_unknown_names_and_parameters_are_refused() -> None:
    with pytest.raises(BadRequest, match="unknown baseline 'medusa'; known: early-exit, gated-"):
        baselines.make("medusa")
    with pytest.raises(BadRequest, match="'speculative' has no parameter 'tau'; it takes k, adapt"):
        baselines.make("speculative", tau=0.1)


# -- the tiny pair on disk ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"sampling": HOT}, {"stop": "e"}, {"raw": True}], ids=str)
def test_early_exit_that_never_does_and_the_llm_alone(options: dict[str, Any]) -> None:
    """Text, reason and options are those of `Stitch.generate`."""
    stitch, never = pair.stitch(), baselines.make("early-exit", threshold=1)
    alone = stitch.generate(pair.QUESTION, policy=make("llm"), max_tokens=40, **options)
    written = baselines.answer(stitch, never, pair.QUESTION, max_tokens=40, **options)
    assert (written.text, written.reason) == (alone.text, alone.reason)
    assert list(written.tokens) == [p.token for p in alone.trace.proposals]


def test_pieces_as_they_are_written() -> None:
    stitch = pair.stitch()
    one = baselines.stream(stitch, baselines.make("speculative"), pair.QUESTION, max_tokens=20)
    pieces = [kept.text for kept in one]
    assert one.written.text.startswith("".join(pieces)) and len(pieces) == 20
    assert_clean(stitch.engine)


def test_induced_text_is_that_of_the_llms_tokenizer() -> None:
    stitch = pair.stitch()
    fitted = baselines.make("early-exit", induce="So").fitted(stitch)
    assert fitted.spec()["induce"] == tuple(stitch.tokenizer.encode("So"))


# -- special tokens that differ -------------------------------------------------------------------


@lru_cache
def unlike(same: bool) -> Stitch:
    found = wild.pair(same=same)
    return rstitch.load(slm=str(found.slm), llm=str(found.llm), tau=0.5)


@pytest.mark.parametrize("sampling", [Sampling(), HOT], ids=["greedy", "sampled"])
def test_one_network_with_two_vocabularies(sampling: Sampling) -> None:
    """The same embedding rows under other ids: what the SLM drafts is what the LLM writes, marks of
    thoughts and ends of text included. What only one side has cannot be drafted."""
    stitch, prompt = unlike(True), "Mia has three boxes"
    assert stitch.engine.translation is not None
    options: dict[str, Any] = {"sampling": sampling, "max_tokens": 60, "raw": True}
    alone = stitch.generate(prompt, policy=make("llm"), **options)
    written = baselines.answer(stitch, baselines.make("speculative"), prompt, **options)
    assert list(written.tokens) == [p.token for p in alone.trace.proposals]
    assert written.acceptance > 0.9
    assert written.text == alone.text


@pytest.mark.parametrize("name", ["speculative", "gated-speculative"])
def test_two_networks_with_two_vocabularies(name: str) -> None:
    """Lossless: greedy, the LLM's answer; with the chat templates of either side."""
    stitch = unlike(False)
    lossless = baselines.make(name, **({} if name == "speculative" else {"theta": 1.1}))
    alone = stitch.generate(pair.QUESTION, policy=make("llm"), max_tokens=60)
    written = baselines.answer(stitch, lossless, pair.QUESTION, max_tokens=60)
    assert list(written.tokens) == [p.token for p in alone.trace.proposals]


def test_partners_are_looked_up_once_for_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was done for each answer, within its seconds."""
    find, calls = work.Work._find_partners, []

    def watched(one: work.Work) -> Any:
        calls.append(one)
        return find(one)

    monkeypatch.setattr(work.Work, "_find_partners", watched)
    monkeypatch.setattr(work, "_PARTNERS", WeakKeyDictionary())
    for _ in range(3):
        baselines.answer(unlike(False), baselines.make("speculative"), pair.QUESTION, max_tokens=5)
    assert len(calls) == 1


def test_a_token_that_the_slm_cannot_read_is_refused_by_name() -> None:
    """QwQ's <tool_call> has no partner in R1's vocabulary; written by the LLM, it ends the answer
    as it does in the engine."""
    stitch = unlike(False)
    call = stitch.tokenizer.convert_tokens_to_ids(wild.CALL)
    runner = stitch.models[Side.LLM].runner
    extend = runner.extend

    def calls(*args: Any, **kwargs: Any) -> torch.Tensor:
        return extend(*args, **kwargs).index_fill(1, torch.tensor(call), 100.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "extend", calls)
        with pytest.raises(BadPair, match="wrote '<tool_call>', for which"):
            baselines.answer(stitch, baselines.make("speculative"), pair.QUESTION)
    assert_clean(stitch.engine)


# -- the built-in pair ----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["torch", "llamacpp"])
def builtin(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stitch]:
    """llama.cpp's files are converted into a cache of these tests' own."""
    if request.param == "llamacpp":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with rstitch.load(engine=request.param, threads=1) as stitch:
            yield stitch


@lru_cache
def questions(count: int) -> list[str]:
    return [p.question for p in spread(problems("dev"), PROBLEMS)[:count]]


def near_tie(stitch: Stitch, answer: Answer, at: int) -> float:
    """Top-2 gap of the LLM there."""
    tokens = [p.token for p in answer.trace.proposals]
    runner = stitch.models[Side.LLM].runner
    row = runner.open()
    try:
        out = runner.extend([Extend(row, [*answer.trace.prompts[Side.LLM], *tokens[:at]])])
        best = out[0].topk(2).values
        return float(best[0] - best[1])
    finally:
        runner.free(row)


def check_lossless(stitch: Stitch, count: int, max_tokens: int) -> None:
    """Each problem by one of four ways to speculate without loss."""
    ways = [
        baselines.make("speculative"),
        baselines.make("speculative", k=2, adapt=True),
        baselines.make("gated-speculative", tau=0.03, theta=1.1),
        baselines.make("early-exit", threshold=1, induce=INDUCE),
    ]
    alone = stitch.batch(questions(count), policy=make("llm"), max_tokens=max_tokens)
    got = [
        baselines.answer(stitch, ways[i % 4], question, max_tokens=max_tokens)
        for i, question in enumerate(questions(count))
    ]
    assert_same(
        [one.tokens for one in got],
        [tuple(p.token for p in one.trace.proposals) for one in alone],
        lambda i, at: near_tie(stitch, alone[i], at),
    )
    assert [one.reason for one in got] == [one.reason for one in alone]
    assert sum(one.accepted for one in got) > 0
    assert_clean_rows(stitch)


@NEEDS_WEIGHTS
def test_greedy_is_the_llm_alone_on_built_in_problems(builtin: Stitch) -> None:
    """The beginnings of forty answers on torch, of four on llama.cpp."""
    check_lossless(builtin, 40 if builtin.engine.config.engine == "torch" else 4, 30)


@pytest.mark.slow
@NEEDS_WEIGHTS
def test_greedy_is_the_llm_alone_on_whole_answers(builtin: Stitch) -> None:
    check_lossless(builtin, PROBLEMS, 400)


@NEEDS_WEIGHTS
def test_early_exit_on_built_in_problems(builtin: Stitch) -> None:
    """Always confident, it answers after the first step, in the pair's own form."""
    question = questions(4)[0]
    at_once = baselines.make("early-exit", threshold=0.0, induce=INDUCE)
    written = baselines.answer(builtin, at_once, question, max_tokens=260)
    assert written.exited and written.trials == 1 and written.trial_tokens == 0
    thought, _, answer = written.text.partition("\n\n</think>")
    assert "\n\n" not in thought
    assert answer.startswith(INDUCE) and answer.endswith("}.")
    assert_clean_rows(builtin)


@NEEDS_WEIGHTS
def test_the_pages_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(code, "docs/baselines.md", "exec"), {})
    assert "\\boxed{" in out.getvalue() and "llm" in out.getvalue()


def test_the_page_tells_all_names_and_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    for name in baselines.REGISTRY:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        for param, value in baselines.make(name).spec().items():
            shown = f"`{param}` {value:g}" if isinstance(value, float) else f"`{param}` {value}"
            assert param == "name" or not value or shown in row, (name, shown)
            assert param == "name" or f"`{param}`" in row, (name, param)


def assert_clean_rows(stitch: Stitch) -> None:
    for side, runner in stitch.engine.runners.items():
        assert runner.fits([]) and not getattr(getattr(runner, "kv", None), "length", {}), side
