"""What an operator's bounds keep requests from, where the names alone do not say so."""

from __future__ import annotations

import pytest

from rstitch.policy import make
from rstitch.server.config import Bounds
from rstitch.server.errors import Problem
from rstitch.server.extra import Asked
from rstitch.server.rules import Rules


def rules(**bounds: object) -> Rules:
    return Rules(make("entropy", tau=0.03), Bounds(**bounds))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["tau_min", "tau_max"])
def test_a_policy_without_a_tau_does_not_escape_a_bound_on_it(name: str) -> None:
    bounded = rules(**{name: 0.03})
    rule = {"name": "margin", "bound": 0.5}
    with pytest.raises(Problem, match="policy 'margin' has no tau, and this server bounds it"):
        bounded.stitched(Asked(policy=rule), None)  # type: ignore[arg-type]
    assert rules().stitched(Asked(policy=rule), None).name == "margin"  # type: ignore[arg-type]
    named = rules(**{name: 0.03}, policies=("margin", "entropy"))
    assert named.stitched(Asked(policy=rule), None).name == "margin"  # type: ignore[arg-type]


def test_limits_need_the_policy_that_keeps_them() -> None:
    rules().check_limits("rstitch.max_llm_share")
    rules(policies=("entropy", "steered")).check_limits("rstitch.max_llm_share")
    with pytest.raises(Problem, match="needs the policy 'steered'") as raised:
        rules(policies=("entropy",)).check_limits("rstitch.max_llm_share")
    assert raised.value.status == 400 and raised.value.param == "rstitch.max_llm_share"
