"""From what an answer may take (an LLM share, LLM tokens, seconds) to the policy that keeps to it.

The policy itself knows neither the pair nor the machine: how long answers are, which tau goes with
which ceiling, and what a step costs become its parameters here, so a trace holds all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rstitch.defaults import Habits
from rstitch.engine.request import Engine
from rstitch.errors import BadRequest
from rstitch.policy import Policy
from rstitch.policy.entropy import EntropyThreshold
from rstitch.policy.steered import Steered
from rstitch.types import Side

PRICES = ("slm_step", "llm_step", "llm_token")
"""What the policy calls the seconds that passes were seen to take."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may take; None is no limit."""

    max_llm_share: float | None = None
    max_llm_tokens: int | None = None
    deadline: float | None = None
    """Seconds since the request was accepted."""

    def given(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in named.items() if value is not None}


def check(limits: Limits, policy: Policy | None) -> None:
    """Raise BadRequest for limits of a wrong value, or for a policy that knows none."""
    given = limits.given()
    if not given:
        return
    Steered(tau=0.0, **{**given, "slm_step": 1.0, "llm_step": 1.0})
    if policy is None or type(policy) is EntropyThreshold:
        return
    first = next(iter(given))
    if not isinstance(policy, Steered):
        raise BadRequest(
            f"policy {policy.name!r} cannot be steered; leave out {first}, or the policy"
        )
    twice = next((name for name in given if getattr(policy, name) is not None), None)
    if twice:
        raise BadRequest(f"{twice} is given twice, to the policy too; leave out one of them")


def within(
    limits: Limits,
    rule: Policy,
    habits: Habits,
    *,
    most: int,
    chosen: bool,
    prices: Callable[[], Mapping[str, float]],
) -> Policy:
    """The rule, held to the limits. most: tokens of the answer; chosen: the caller named tau, which
    then stands; prices: what `priced` says, asked for where there is a deadline.

    Raises BadRequest as `check`.
    """
    check(limits, rule)
    given = limits.given()
    if not given:
        return rule
    if limits.deadline is not None:
        given |= prices()
    if isinstance(rule, Steered):
        return replace(rule, **given)
    assert isinstance(rule, EntropyThreshold)
    longest = most if habits.longest is None else min(most, habits.longest)
    steered = Steered(
        tau=rule.tau, shortest=min(habits.shortest, most), after=habits.after, longest=longest,
        **given,
    )  # fmt: skip
    return steered if chosen else replace(steered, tau=habits.tau(_share(steered), rule.tau))


def priced(engine: Engine, rows: int) -> dict[str, float]:
    """What passes of so many rows cost lately, by those names: seconds, 0 for a step of a side that
    has never run."""
    steps = engine.seconds(Side.SLM, rows), engine.seconds(Side.LLM, rows)
    return dict(zip(PRICES, (*steps, engine.reading(Side.LLM)), strict=True))


def _share(policy: Steered) -> float:
    """The LLM share that the limits come to in an answer of the greatest length."""
    shares = [1.0]
    if policy.max_llm_share is not None:
        shares.append(policy.max_llm_share)
    if policy.max_llm_tokens is not None:
        shares.append(policy.max_llm_tokens / policy.longest)
    if policy.deadline is not None:
        rest = policy.deadline / policy.longest - policy.slm_step
        shares.append(rest / policy.llm_step)
    return min(shares)
