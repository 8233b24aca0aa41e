"""The built-in pair on llama.cpp, in float32: the tokens of the torch engine (tests/same.py).

A part runs by default; `pytest -m slow` asks for all: 500 test problems at five values of tau,
greedy and sampled, one and sixteen in flight.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import rstitch
from rstitch import sampling
from rstitch.api import Answer, Stitch
from rstitch.pairs import BUILTIN
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.types import Sampling, Side
from tests.models import context
from tests.same import assert_same

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (rstitch[llamacpp])")
pytestmark = pytest.mark.skipif(
    not (BUILTIN / "pair.json").is_file(), reason="the built-in weights are not there"
)

TAUS = (0.001, 0.005, 0.02, 0.1, 0.3)
SAMPLINGS = {"greedy": Sampling(), "sampled": Sampling(0.8, top_p=0.95, seed=11)}
IN_FLIGHT = (1, 16)
MAX_TOKENS = 260


@pytest.fixture(scope="module", params=IN_FLIGHT)
def ours(request: pytest.FixtureRequest) -> Iterator[Stitch]:
    with rstitch.load(engine="llamacpp", max_rows=request.param, threads=1) as pair:
        yield pair


@lru_cache
def theirs() -> Stitch:
    """On torch, with sixteen in flight, which changes nothing."""
    return rstitch.load(max_rows=16, threads=1)


@lru_cache
def reference(count: int, tau: float, sampled: str) -> list[Answer]:
    return ask(theirs(), count, tau, sampled)


def ask(pair: Stitch, count: int, tau: float, sampled: str) -> list[Answer]:
    questions = [p.question for p in spread(problems("test"), count)]
    return pair.batch(questions, tau=tau, sampling=SAMPLINGS[sampled], max_tokens=MAX_TOKENS)


@lru_cache
def plain(side: Side) -> Any:
    return AutoModelForCausalLM.from_pretrained(BUILTIN / side.label, dtype=torch.float32).eval()


@torch.inference_mode()
def margin(answer: Answer, tau: float, at: int, vocab_size: int) -> float:
    """How near that proposal was to another token or side, by a plain forward pass."""
    proposals = answer.trace.proposals
    proposal = proposals[min(at, len(proposals) - 1)]
    kept = context(proposals[: min(at, len(proposals) - 1)])
    ids = torch.tensor([[*answer.trace.prompts[proposal.side], *kept]])
    logp = torch.log_softmax(plain(proposal.side)(input_ids=ids).logits[0, -1:, :vocab_size], -1)
    scores, settings = logp, answer.trace.sampling
    if settings.temperature > 0:
        filters = sampling.Filters(
            torch.tensor([settings.temperature]),
            torch.tensor([settings.top_k or vocab_size]),
            torch.tensor([settings.top_p]),
            torch.tensor([settings.min_p]),
        )
        seeds, positions = torch.tensor([settings.seed]), torch.tensor([len(kept)])
        scores = sampling.filtered(logp, filters) + sampling.gumbel(seeds, positions, vocab_size)
    best = scores[0].topk(2).values
    return min(float(best[0] - best[1]), abs(float(sampling.entropy(logp)) - tau))


def steps(answer: Answer) -> list[tuple[int, Side, bool, Side]]:
    return [(p.token, p.side, p.keep, p.next_side) for p in answer.trace.proposals]


def compare(ours: Stitch, count: int, tau: float, sampled: str) -> None:
    got, want = ask(ours, count, tau, sampled), reference(count, tau, sampled)
    size = ours.models[Side.LLM].runner.vocab_size
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: margin(want[i], tau, at, size),
    )
    least = count if tau <= 0.1 else 0  # else few answers have a hand-off
    assert sum(answer.usage.handoffs for answer in got) > least


@pytest.mark.parametrize("sampled", SAMPLINGS)
@pytest.mark.parametrize("tau", [0.005, 0.1])
def test_some_problems(ours: Stitch, tau: float, sampled: str) -> None:
    compare(ours, 16, tau, sampled)


@pytest.mark.slow
@pytest.mark.parametrize("sampled", SAMPLINGS)
@pytest.mark.parametrize("tau", TAUS)
def test_five_hundred_problems(ours: Stitch, tau: float, sampled: str) -> None:
    compare(ours, 500, tau, sampled)


@pytest.mark.parametrize("policy", ["slm", "llm"])
def test_each_side_alone(ours: Stitch, policy: str) -> None:
    questions = [p.question for p in spread(problems("test"), 8)]
    got, want = (
        pair.batch(questions, policy=policy, max_tokens=MAX_TOKENS) for pair in (ours, theirs())
    )
    size = ours.models[Side.LLM].runner.vocab_size
    assert_same(
        [steps(answer) for answer in got],
        [steps(answer) for answer in want],
        lambda i, at: margin(want[i], float("inf"), at, size),
    )


def test_files_are_made_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By content: a changed pair is another file; a cache that cannot be written is told."""
    from rstitch.errors import BadRequest
    from rstitch.llamacpp.cache import cached

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = cached(str(BUILTIN / "slm"))
    made = first.stat().st_mtime_ns
    assert cached(str(BUILTIN / "slm")) == first and first.stat().st_mtime_ns == made
    assert cached(str(BUILTIN / "slm"), "q8_0") != first != cached(str(BUILTIN / "llm"))
    assert len(list(first.parent.iterdir())) == 3, "nothing else is left there"
    monkeypatch.setenv("XDG_CACHE_HOME", str(first))
    with pytest.raises(BadRequest, match="set XDG_CACHE_HOME to a directory that can be written"):
        cached(str(BUILTIN / "slm"))
