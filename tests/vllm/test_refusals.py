"""What is refused on vLLM before it is asked, and what is not; no vLLM is needed for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rstitch.engine.request import Request
from rstitch.errors import BadRequest
from rstitch.policy import make
from rstitch.policy.base import Policy
from rstitch.policy.entropy import EntropyThreshold
from rstitch.types import Side
from rstitch.vllm.refusals import check
from rstitch.vllm.side import Shape, VllmSide


@dataclass(frozen=True, slots=True)
class Other(EntropyThreshold):
    """A built-in rule's name on a rule that is not it."""


@dataclass(frozen=True, slots=True)
class Filed(EntropyThreshold):
    name: ClassVar[str] = "my.py:Filed"


def sides(**llm: Any) -> dict[Side, VllmSide]:
    shape = Shape("m", 300, 400, 100, 8)
    return {Side.SLM: VllmSide(shape, {}), Side.LLM: VllmSide(shape, llm)}


def request(policy: Policy, **asked: Any) -> Request:
    return Request(dict.fromkeys(Side, (1, 2)), policy, **asked)


def test_what_has_no_effect_is_not_refused() -> None:
    """`rstitch serve` and `chat` name both in every request."""
    check(request(make("entropy", tau=0.1), reuse="chat", owner="me"), sides())


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Other(tau=0.1), "is of the class tests.vllm.test_refusals.Other"),
        (Filed(tau=0.1), "comes from a file"),
    ],
)
def test_a_class_that_workers_do_not_know(policy: Policy, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        check(request(policy), sides())


def test_hidden_states_that_workers_do_not_hear() -> None:
    """Of the SLM alone, since the router is asked there alone."""
    rule, both = make("router"), sides()
    check(request(rule), both)
    both[Side.LLM].deaf = "nobody listens"
    check(request(rule), both)
    both[Side.SLM].deaf = "VLLM_PLUGINS is 'x': add 'rstitch' to it"
    with pytest.raises(BadRequest, match="'router' reads hidden states of the SLM.*VLLM_PLUGINS"):
        check(request(rule), both)
    check(request(make("entropy", tau=0.1)), both)


def test_workers_of_one_model_never_go_by_their_own_clocks() -> None:
    late = make("steered", tau=0.1, deadline=9.0, slm_step=0.1, llm_step=0.2)
    check(request(late), sides())
    with pytest.raises(BadRequest, match="the LLM's workers would each have their own"):
        check(request(late), sides(tensor_parallel_size=2))
    for timeless in (make("steered", tau=0.1, max_llm_share=0.5), make("entropy", tau=0.1)):
        check(request(timeless), sides(tensor_parallel_size=2))
