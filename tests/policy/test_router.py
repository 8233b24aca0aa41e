"""The router policy: who is asked what, in numpy and in torch, and files that are refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rstitch.errors import BadPair, BadRequest
from rstitch.explain import check
from rstitch.pairs.bound import models_of
from rstitch.policy import make
from rstitch.policy.network import CARD, WEIGHTS, Layer, Network, read_network, save
from rstitch.policy.router import Router
from rstitch.types import Sampling, Side
from tests.pair import QUESTION, TAU, stitch
from tests.policy.reading import (
    LEAVE_LLM,
    LEAVE_SLM,
    LLM,
    SLM,
    STAY_LLM,
    STAY_SLM,
    decide,
    signals,
)
from tests.router.file import WIDTH, network, router_file


def router() -> Router:
    found = make("router", file=router_file())
    assert isinstance(found, Router)
    return found


def test_it_decides_where_the_slm_is_unsure_and_nowhere_else() -> None:
    given = signals(
        [SLM, SLM, SLM, LLM, LLM], [0.7, 0.7, 0.5, 0.7, 0.5], score=[0.1, -0.1, 9.0, -9.0, 9.0]
    )
    expected = [LEAVE_SLM, STAY_SLM, STAY_SLM, STAY_LLM, LEAVE_LLM]
    assert decide(make("router", file="nowhere", tau=0.6), given) == expected


def test_lambda_is_a_bound_on_the_log_odds(tmp_path: Path) -> None:
    """Worked by hand: a hand-off takes a tenth of an answer, so at lambda 0.5 it pays from
    P = 0.05 / 0.5 on, at 0.1 from 0.01 / 0.9."""
    told = {
        "tau": 0.6, "models": {}, "lambda": 0.1,
        "prices": {"base": [0.1, 0.8], "per_row": [0.02, 0.08]},
        "dev": {"gate": {"predicted_seconds": 10.0}},
    }  # fmt: skip
    save(tmp_path, network(), told)
    own, dearer = (make("router", file=str(tmp_path), price=price) for price in (0.1, 0.5))
    assert isinstance(own, Router) and own.above == 0.0
    assert isinstance(dearer, Router) and dearer.above == pytest.approx(math.log(89 / 9))
    given = signals([SLM, SLM], [0.7, 0.7], score=[2.2, 2.4])
    assert decide(own, given) == [LEAVE_SLM, LEAVE_SLM]
    assert decide(dearer, given) == [STAY_SLM, LEAVE_SLM]
    again = make(**dearer.spec() | {"file": "nowhere"})
    assert decide(again, given) == [STAY_SLM, LEAVE_SLM], "a trace needs no file"
    free = make("router", file=str(tmp_path), price=0)
    assert decide(free, signals([SLM], [0.7], score=[-90.0])) == [LEAVE_SLM]
    for price in (-0.1, float("nan"), "much"):
        with pytest.raises(BadRequest, match="lambda must be 0 or more"):
            make("router", file=str(tmp_path), price=price)


def test_one_row_in_numpy_is_the_batch_in_torch() -> None:
    draws = torch.Generator().manual_seed(3)
    hidden = torch.randn(200, WIDTH, generator=draws)
    entropy, context = torch.rand(200, generator=draws), torch.arange(200.0)
    together = network()(hidden, entropy, context)
    for i in range(200):
        alone = network().one(hidden[i].numpy(), float(entropy[i]), int(context[i]))
        assert abs(alone - float(together[i])) < 1e-5, (i, alone, float(together[i]))


def test_a_trace_holds_the_score_of_every_decision_and_explain_needs_no_file() -> None:
    trace = stitch().generate(QUESTION, policy=router(), max_tokens=60).trace
    asked = [p for p in trace.proposals if p.side is Side.SLM and p.entropy > TAU]
    assert {p.keep for p in asked} == {True, False}, "this network does both"
    assert all((p.signals["score"] > 0) != p.keep for p in asked)
    rest = [p for p in trace.proposals if p not in asked]
    assert all(p.signals["score"] == 0 for p in rest)
    told = {"name": "router", "file": router_file(), "tau": TAU, "price": None, "above": 0.0}
    assert trace.policy == told
    trace.policy["file"] = "nowhere"
    assert check(trace) is None
    index = trace.proposals.index(asked[0])
    asked[0].signals["score"] *= -1
    difference = check(trace)
    assert difference is not None and difference.index == index


def test_a_wrong_context_is_found() -> None:
    trace = stitch().generate(QUESTION, policy=router(), max_tokens=10).trace
    trace.proposals[3].signals["context"] += 1
    difference = check(trace)
    assert difference is not None and (difference.index, difference.record) == (3, "decision")


def test_the_quick_way_and_the_batched_way_make_the_same_answer() -> None:
    """A wanted log-probability is what the quick way does not do."""
    quick = stitch().generate(QUESTION, policy=router(), max_tokens=60).trace
    whole = stitch().generate(QUESTION, policy=router(), max_tokens=60, top_logprobs=1).trace
    for a, b in zip(quick.proposals, whole.proposals, strict=True):
        assert (a.token, a.side, a.keep, a.next_side) == (b.token, b.side, b.keep, b.next_side)
        assert a.signals.keys() == b.signals.keys()
        near = np.isclose(a.signals["score"], b.signals["score"], atol=1e-4)
        assert near, (a.signals, b.signals)


def test_many_in_flight_beside_another_policy_are_as_alone() -> None:
    alone = stitch().generate(QUESTION, policy=router(), max_tokens=40)
    other = stitch().stream(QUESTION, policy=make("margin", bound=0.4), max_tokens=40)
    hot = stitch().stream(QUESTION, policy=router(), max_tokens=40, sampling=Sampling(1.0, seed=1))
    among = stitch().generate(QUESTION, policy=router(), max_tokens=40)
    other.result(), hot.result()
    assert among.text == alone.text
    assert check(hot.trace) is None


# -- files that are refused -----------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(router_file(), tmp_path / "router"))


def test_the_weights_may_be_named_instead_of_the_directory(copied: Path) -> None:
    assert make("router", file=str(copied / WEIGHTS)).spec()["tau"] == TAU


def test_another_pair_is_refused(copied: Path) -> None:
    card = json.loads((copied / CARD).read_text())
    card["models"]["llm"]["sha256"]["model.safetensors"] = "0" * 64
    (copied / CARD).write_text(json.dumps(card))
    with pytest.raises(
        BadPair, match=r"another LLM than .*model.safetensors differs.*train-router"
    ):
        stitch().generate(QUESTION, policy=make("router", file=str(copied)), max_tokens=2)


def test_the_shipped_one_is_for_the_built_in_pair_alone() -> None:
    with pytest.raises(BadPair, match="router of the built-in pair was trained for another SLM"):
        stitch().generate(QUESTION, policy="router", max_tokens=2)


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_damaged_and_missing_files_are_named(copied: Path, name: str) -> None:
    for damage in (lambda f: f.write_bytes(f.read_bytes()[:20]), lambda f: f.unlink()):
        damage(copied / name)
        with pytest.raises(BadRequest, match=name):
            rule = make("router", file=str(copied))
            stitch().generate(QUESTION, policy=rule, max_tokens=2)


def test_another_shape_is_refused(copied: Path) -> None:
    first = network().layers[0]
    odd = Network([first, Layer(first.weight.clone(), first.bias.clone())])
    save(copied, odd, {"tau": TAU, "models": models_of(stitch().models)})
    with pytest.raises(BadRequest, match="layer 1 is 8 x 34"):
        read_network(str(copied))


@pytest.mark.parametrize("params", [{"file": 3}, {"tau": "0.1"}, {"file": "nowhere"}])
def test_parameters_are_refused(params: dict[str, object]) -> None:
    with pytest.raises(BadRequest, match=r"file is 3|tau is '0.1'|nowhere"):
        make("router", **params)
