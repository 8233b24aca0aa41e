"""Limits on an answer: what becomes of them, in Python and on the command line, and who refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rstitch import explain
from rstitch import trace as traces
from rstitch.defaults import Habits
from rstitch.errors import BadRequest
from rstitch.pairs import preset
from rstitch.policy import Policy, make
from rstitch.policy.steered import Steered
from rstitch.steering import Limits, within
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, TAU, pair, stitch

HABITS = Habits(shortest=30, after=10, longest=66, ceilings=(0.05, 0.1), taus=(0.2, 0.1))
PRICES = {"slm_step": 0.001, "llm_step": 0.004, "llm_token": 0.0001}


def held(limits: Limits, rule: Policy | None = None, chosen: bool = False) -> Steered:
    found = within(
        limits, rule or make("entropy", tau=0.03), HABITS, most=512, chosen=chosen,
        prices=lambda: PRICES,
    )  # fmt: skip
    assert isinstance(found, Steered)
    return found


@pytest.mark.parametrize(
    ("limits", "tau"),
    [
        (Limits(0.01), 0.2),  # below all: the smallest's
        (Limits(0.05), 0.2),
        (Limits(0.099), 0.2),
        (Limits(0.1), 0.1),
        (Limits(0.5), 0.1),
        (Limits(None, 3), 0.2),  # 3 of 66
        (Limits(None, 7), 0.1),
        (Limits(0.1, 3), 0.2),
        (Limits(None, None, 0.066 + 0.0198), 0.2),  # room for 4.95 LLM steps in 66 tokens
        (Limits(None, None, 0.066 + 0.0268), 0.1),
    ],
)
def test_the_tau_that_a_limit_starts_with(limits: Limits, tau: float) -> None:
    assert held(limits).tau == tau
    assert held(limits, chosen=True).tau == 0.03, "the caller's own stands"
    assert held(limits, make("entropy", tau=0.3)).tau == 0.3, "the pair's own, where it is higher"


def test_what_is_known_of_the_pair_and_of_the_machine_becomes_parameters() -> None:
    policy = held(Limits(0.1, deadline=2.0))
    assert (policy.shortest, policy.after, policy.longest) == (30, 10, 66)
    assert (policy.slm_step, policy.llm_step, policy.llm_token) == (0.001, 0.004, 0.0001)
    assert held(Limits(0.1)).slm_step == 0, "not asked for without a deadline"
    unknown = within(
        Limits(0.1),
        make("entropy", tau=0.03),
        Habits(),
        most=77,
        chosen=False,
        prices=lambda: PRICES,
    )
    assert unknown == Steered(tau=0.03, max_llm_share=0.1, longest=77)


def test_no_limit_changes_nothing() -> None:
    rule = make("window", tau=0.1)
    found = within(Limits(), rule, HABITS, most=9, chosen=True, prices=lambda: PRICES)
    assert found is rule


# -- an answer ------------------------------------------------------------------------------------


def test_in_python() -> None:
    answer = stitch().generate(QUESTION, max_llm_tokens=3, max_tokens=30)
    assert answer.usage.llm_tokens == 3
    assert answer.trace.policy["max_llm_tokens"] == 3
    assert explain.check(answer.trace) is None
    share = stitch().generate(QUESTION, max_llm_share=0.2, max_tokens=30).usage.llm_share
    assert 0 < share <= 0.2 + 0.5 / 30


def test_a_deadline_in_python() -> None:
    """One that has passed leaves all to the SLM; what a step costs is in the trace."""
    answer = stitch().generate(QUESTION, deadline=0.0, max_tokens=20)
    assert (answer.usage.slm_tokens, answer.reason) == (20, "length")
    assert answer.trace.policy["slm_step"] > 0 and answer.trace.policy["llm_step"] > 0
    assert explain.check(answer.trace) is None
    long = stitch().generate(QUESTION, deadline=3600.0, tau=TAU, max_tokens=20)
    assert long.usage.llm_tokens > 0


def test_many_at_once_are_one_at_a_time() -> None:
    prompts = [f"{QUESTION} {n}" for n in range(4)]
    together = stitch().batch(prompts, max_llm_share=0.2, max_tokens=24)
    alone = [stitch().generate(one, max_llm_share=0.2, max_tokens=24) for one in prompts]
    assert [a.text for a in together] == [a.text for a in alone]


def test_on_the_command_line(tmp_path: Path) -> None:
    options = ["--max-llm-share", "0.2", "--max-llm-tokens", "2", "--deadline", "100"]
    options += ["--max-tokens", "30", "--json", "--trace", str(tmp_path / "t.jsonl")]
    done = rstitch("generate", QUESTION, *pair().options, *options)
    assert done.code == 0
    answer = json.loads(done.out)
    assert answer["usage"]["llm_tokens"] == 2
    limits = {"max_llm_share": 0.2, "max_llm_tokens": 2, "deadline": 100.0}
    assert limits.items() <= answer["policy"].items()
    (trace,) = traces.read(tmp_path / "t.jsonl")
    assert explain.check(trace) is None


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_llm_share": 1.5}, "max_llm_share is 1.5; it must be a number from 0 to 1"),
        ({"max_llm_tokens": 0.5}, "max_llm_tokens is 0.5; it must be a whole number"),
        ({"deadline": -1}, "deadline is -1; it must be a number from 0 on"),
        (
            {"deadline": 1, "policy": "slm"},
            "policy 'slm' cannot be steered; leave out deadline, or the policy",
        ),
        (
            {"max_llm_share": 0.1, "policy": Steered(tau=0.1, max_llm_share=0.2)},
            "max_llm_share is given twice, to the policy too; leave out one of them",
        ),
    ],
)
def test_limits_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        stitch().generate(QUESTION, **options)


def test_a_steered_policy_takes_the_limits_that_it_has_not() -> None:
    policy = Steered(tau=TAU, max_llm_share=0.5)
    answer = stitch().generate(QUESTION, policy=policy, max_llm_tokens=1, max_tokens=12)
    assert answer.usage.llm_tokens == 1
    assert answer.trace.policy["max_llm_share"] == 0.5


def test_refused_on_the_command_line_before_anything_is_loaded() -> None:
    done = rstitch("generate", "Why?", "--slm", "no", "--llm", "no", "--max-llm-share", "2")
    assert "max_llm_share is 2.0; it must be a number from 0 to 1" in done.line
    steered = ["--policy", "random,p=0.1,q=0.1", "--deadline", "1"]
    done = rstitch("generate", "Why?", "--slm", "no", "--llm", "no", *steered)
    assert "policy 'random' cannot be steered; leave out deadline" in done.line


# -- what a pair says -----------------------------------------------------------------------------


def test_the_built_in_pair_says_how_long_its_answers_are() -> None:
    habits = preset("builtin").habits
    assert habits.longest and 0 < habits.shortest < habits.longest
    assert list(habits.taus) == sorted(habits.taus, reverse=True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("habits = 3", "habits is 3; it must be a table"),
        ("[habits]\nlonger = 3", "unknown key 'longer'; known: shortest, after, longest"),
        ("[habits]\nlongest = 'x'", "longest is 'x'; it must be int"),
        ("[habits]\nlongest = 0", "they must be whole numbers"),
        ("[habits]\nceilings = [0.1]", "there must be as many of both"),
        ("[habits]\nceilings = [0.2, 0.1]\ntaus = [0.1, 0.2]", "ceilings must rise"),
    ],
)
def test_habits_that_cannot_be_are_refused(tmp_path: Path, table: str, message: str) -> None:
    sides = "[slm]\nid = 'a'\n[llm]\nid = 'b'\n"
    text = f"{table}\n{sides}" if table.startswith("habits") else f"{sides}{table}\n"
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(BadRequest, match=message):
        preset(str(tmp_path / "p.toml"))
