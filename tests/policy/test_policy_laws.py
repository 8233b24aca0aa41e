"""Laws that all policies keep, and how they are made by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from rstitch.errors import BadRequest
from rstitch.policy import REGISTRY, make
from rstitch.policy.base import Signals
from tests.policy.reading import (
    LLM,
    NAMES,
    PARAMETERS,
    SLM,
    many_rows,
    memories,
    signals,
    states,
)

# -- laws of every policy -------------------------------------------------------------------------


def rows(part: Signals, at: slice) -> Signals:
    return Signals(**{name: getattr(part, name)[at] for name in NAMES})


@pytest.mark.parametrize("name", REGISTRY)
def test_decisions_are_row_wise_and_pure(name: str) -> None:
    """All rows at once, one by one and twice: the same, with no change of what went in."""
    policy = make(name, **PARAMETERS[name])
    given = many_rows(200)
    state = memories(policy, 200)
    went_in = [*(getattr(given, name) for name in NAMES), state]
    before = [tensor.clone() for tensor in went_in]
    together = policy.decide(given, state)
    again = policy.decide(given, state)
    for i in range(200):
        alone = policy.decide(rows(given, slice(i, i + 1)), state[i : i + 1])
        for column in ("next_side", "keep", "state"):
            mine, batched = getattr(alone, column)[0], getattr(together, column)[i]
            assert torch.equal(mine, batched), f"row {i}: {column} {mine}, in a batch {batched}"
            assert torch.equal(batched, getattr(again, column)[i])
    assert all(torch.equal(a, b) for a, b in zip(before, went_in, strict=True))


@pytest.mark.parametrize("name", REGISTRY)
def test_decisions_have_the_promised_types(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    decision = policy.decide(many_rows(7), states(policy, 7))
    assert decision.next_side.dtype == torch.int64 and decision.next_side.shape == (7,)
    assert decision.keep.dtype == torch.bool and decision.keep.shape == (7,)
    assert decision.state.dtype == torch.float32
    assert decision.state.shape == (7, len(policy.initial_state()))


@pytest.mark.parametrize("name", REGISTRY)
def test_a_discarded_position_goes_to_the_other_side(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    given = many_rows(500)
    decision = policy.decide(given, states(policy, 500))
    dropped = ~decision.keep
    assert torch.equal(decision.next_side[dropped], 1 - given.side[dropped])


@pytest.mark.parametrize("name", REGISTRY)
def test_only_declared_signals_are_read(name: str) -> None:
    """What is not in `reads` is not recorded, so a replay would not know it."""
    policy = make(name, **PARAMETERS[name])
    given = many_rows(200)
    known = {"side", "entropy", *policy.reads}
    seen = Signals(**{n: getattr(given, n) for n in NAMES if n in known})
    full, partial = (policy.decide(s, states(policy, 200)) for s in (given, seen))
    assert torch.equal(full.next_side, partial.next_side)
    assert torch.equal(full.keep, partial.keep)


def test_one_batch_may_mix_parameters() -> None:
    """Parameters are rows of the state, not of the class."""
    taus = [0.1, 0.5, 0.9]
    state = torch.tensor([make("entropy", tau=tau).initial_state() for tau in taus])
    decision = make("entropy", tau=0.0).decide(signals([SLM] * 3, [0.6] * 3), state)
    assert decision.next_side.tolist() == [LLM, LLM, SLM]


# -- made by name ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTRY)
def test_a_policy_is_made_again_from_its_spec(name: str) -> None:
    policy = make(name, **PARAMETERS[name])
    assert policy.spec() == {"name": name, **PARAMETERS[name]}
    assert make(**policy.spec()) == policy


def test_an_unknown_policy_is_refused_with_the_known_names() -> None:
    with pytest.raises(BadRequest, match="'entropie'") as error:
        make("entropie", tau=0.1)
    assert all(name in str(error.value) for name in REGISTRY)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("entropy", {"tau": 0.1, "treshold": 0.5}, "no parameter 'treshold'; it takes tau"),
        ("slm", {"tau": 0.1}, "no parameter 'tau'; it takes none"),
        ("entropy", {}, "needs a value for 'tau'"),
        ("random", {"p": 0.1}, "needs a value for 'q'"),
        ("confidence", {"tau": 0.1}, "no parameter 'tau'; it takes threshold"),
        ("window", {}, "needs a value for 'tau'; it takes tau, window"),
        ("hysteresis", {"tau_out": 0.1}, "needs a value for 'tau_back'"),
        ("phase", {"tau_think": 0.1}, "needs a value for 'tau_answer'"),
        ("rewind", {"epsilon": 0.1}, "needs a value for 'tau'; it takes tau, epsilon"),
        ("margin", {}, "needs a value for 'bound'"),
    ],
)
def test_parameters_are_refused_by_name(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        make(name, **params)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *[("entropy", "tau", v) for v in (math.nan, "0.1", None, True, [0.1])],
        *[("confidence", "threshold", v) for v in (math.nan, -0.1, 1.1, "0.5", None, False)],
        *[("random", "p", v) for v in (math.nan, -0.1, 1.1, "0.5", None)],
        *[("random", "q", v) for v in (math.nan, -1e-9, 2, True)],
        *[("margin", "bound", v) for v in (math.nan, -0.1, 1.1, "0.5", None)],
        *[("window", "tau", v) for v in (math.nan, "0.5")],
        *[("window", "window", v) for v in (0, -1, 2.5, math.inf, math.nan, "3", True, 2000)],
        *[("hysteresis", p, v) for p in ("tau_out", "tau_back") for v in (math.nan, "1", None)],
        *[("hysteresis", "min_slm", v) for v in (-1, 0.5, "1", 10**7)],
        *[("hysteresis", "min_llm", v) for v in (0, 1.5, None)],
        *[("phase", p, v) for p in ("tau_think", "tau_answer") for v in (math.nan, "1", True)],
        *[("rewind", "tau", v) for v in (math.nan, "1")],
        *[("rewind", "epsilon", v) for v in (math.nan, -0.1, 1.1, "0.1", None)],
    ],
)
def test_values_that_are_no_numbers_are_refused(name: str, parameter: str, value: object) -> None:
    params = {**PARAMETERS[name], parameter: value}
    with pytest.raises(BadRequest, match=f"^{parameter} is ") as error:
        make(name, **params)
    assert repr(value) in str(error.value)
