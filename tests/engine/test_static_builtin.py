"""The built-in pair with its KV in pages and decoding in blocks, as on a GPU: loaded through the
same code, answering as it does pass by pass."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import rstitch
from rstitch.engine import loader
from rstitch.engine.fused.forward import FusedForward
from rstitch.engine.paged.memory import PagedKV
from rstitch.engine.request import Request
from rstitch.engine.static.blocks import Blocks
from rstitch.engine.static.lines import Lines
from rstitch.engine.static.step import Asked, Step
from rstitch.errors import BadRequest
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.policy import Policy, make, network
from rstitch.types import Finished, Sampling, Side, Token
from tests.engine.test_static import HostReads

POLICIES = {"entropy": make("entropy", tau=0.05), "router": make("router")}


def answers(stitch: Any, policy: Policy, sampling: Sampling) -> list[list[tuple[Any, ...]]]:
    """Two at once: token, side, kept or not of each proposal."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for problem in spread(problems("test"), 2):
        prompts = stitch.prompts(problem.question, policy=policy)
        asked = Request(prompts, policy, sampling=sampling, max_tokens=40)
        found[stitch.engine.submit(asked)] = []
    while not stitch.engine.idle:
        for event in stitch.engine.step():
            if isinstance(event, Token):
                p = event.proposal
                found[event.request].append((p.token, p.side, p.keep))
            else:
                assert isinstance(event, Finished), event
    return list(found.values())


@pytest.fixture(scope="module")
def pairs() -> Any:
    """(as on the CPU, as on a GPU)."""
    with pytest.MonkeyPatch.context() as patch:
        plain = rstitch.load(max_rows=4)
        patch.setattr(loader, "on_gpu", lambda config: True)
        yield plain, rstitch.load(max_rows=4)


@pytest.mark.parametrize(("policy", "temperature"), [("entropy", 0.8), ("router", 0.0)])
def test_answers_are_the_same(pairs: Any, policy: str, temperature: float) -> None:
    plain, paged = pairs
    for side in Side:
        runner = paged.engine.runners[side]
        assert isinstance(runner.kv, PagedKV) and isinstance(runner.forward, FusedForward)
    sampling = Sampling(temperature=temperature, seed=4)
    got = answers(paged, POLICIES[policy], sampling)
    assert got == answers(plain, POLICIES[policy], sampling)
    assert {side for one in got for _, side, _ in one} == set(Side)
    assert paged.engine.loop.blocks[Side.SLM]._lines, "no block was run"


@pytest.mark.parametrize("side", Side)
def test_the_router_reads_nothing_back_either(pairs: Any, side: Side) -> None:
    runner = pairs[1].engine.runners[side]
    blocks, lines = Blocks(runner, side, frozenset({3})), Lines(2, 64, 16, torch.device("cpu"))
    lines.rest()
    step = Step(blocks.model, lines, 1, Asked(POLICIES["router"], 2, False))
    step()
    with HostReads() as reads:
        step()
    assert not reads.found, reads.found


def test_compiling_is_refused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(BadRequest, match="compile is for the CPU; on a GPU steps run as graphs"):
        rstitch.load(device="cuda", compile=True)


def test_another_network_of_the_same_router_is_another_step(
    pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training puts a new network at the same name; a captured step has the old one's weights."""
    runner, policy = pairs[1].engine.runners[Side.SLM], make("router")
    blocks, asked = Blocks(runner, Side.SLM, frozenset({3})), Asked(policy, 2, False)
    lines = blocks._lines_for(1)
    key = blocks._key(lines, 1, asked)
    assert blocks._key(lines, 1, Asked(make("router"), 2, False)) == key
    monkeypatch.setitem(network._HELD, policy._path, copy.copy(policy.network))
    assert blocks._key(lines, 1, asked) != key
