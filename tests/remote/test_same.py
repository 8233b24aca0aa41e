"""What comes of a request is what the in-process engine makes of it: events, ends, errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch.api import Stitch, load
from rstitch.engine.request import Request
from rstitch.errors import BadModel, BadRequest, Closed
from rstitch.policy import Policy, make
from rstitch.policy import load as load_policy
from rstitch.remote.engine import RemoteEngine
from rstitch.types import Event, Failed, Finished, Sampling, Side, Token
from tests.models import Answer, collect, drain
from tests.pair import QUESTION, TAU, pair, stitch

OWN = """
from dataclasses import dataclass
from rstitch.policy.entropy import EntropyThreshold

@dataclass(frozen=True)
class Mine(EntropyThreshold):
    pass

@dataclass(frozen=True)
class Fails(EntropyThreshold):
    @classmethod
    def decide(cls, signals, state):
        raise ValueError("not today")

@dataclass(frozen=True)
class Never(EntropyThreshold):
    def initial_state(self):
        raise ValueError("not today")
"""


@pytest.fixture(scope="module")
def remote() -> Iterator[Stitch]:
    with load(**pair().names, tau=TAU, process=True, max_rows=8) as found:
        yield found


@pytest.fixture(scope="module")
def here() -> Iterator[Stitch]:
    with load(**pair().names, tau=TAU, max_rows=8) as found:
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def request(on: Stitch, policy: Policy | None = None, **fields: Any) -> Request:
    rule = policy or make("entropy", tau=TAU)
    return Request(on.prompts(QUESTION, policy=rule), rule, **{"max_tokens": 24, **fields})


def answers(on: Stitch, *requests: Request) -> list[Answer]:
    names = [on.engine.submit(one) for one in requests]
    found = collect(drain(on.engine), names)  # type: ignore[arg-type]
    assert on.engine.idle and on.engine.stats()["active"] == 0
    return found


def timeless(answer: Answer) -> Any:
    """All of it that depends neither on the clock, nor on who shared a pass, nor on how many
    threads it was given, by which the last bits differ."""
    end = answer.finished
    passes = [(one.side, one.new_tokens, one.context) for one in end.forwards]
    tops = [[token for token, _ in one.top_logprobs] for one in answer.proposals]
    return answer.steps, tops, answer.text, end.reason, replace(end.usage, seconds=0), passes


def numbers(answer: Answer, rule: Policy) -> list[float]:
    """Those of its proposals, but for the time."""
    found = list[float]()
    for one in answer.proposals:
        assert set(one.signals) == set(rule.recorded())
        found += [one.entropy, one.logprob, *(p for _, p in one.top_logprobs), *one.span]
        found += [value for name, value in one.signals.items() if name != "elapsed"]
    return found


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        (make("entropy", tau=TAU), {"top_logprobs": 3, "stop": ("e",)}),
        (make("llm"), {"sampling": Sampling(temperature=1.0, seed=5)}),
        (make("rewind", tau=TAU), {}),
        (make("hysteresis", tau_out=TAU, tau_back=TAU / 2), {"ignore_eos": True}),
        (make("steered", tau=TAU, max_llm_share=0.3), {}),
    ],
    ids=lambda one: one.name if isinstance(one, Policy) else "",
)
def test_same_events(remote: Stitch, here: Stitch, rule: Policy, fields: dict[str, Any]) -> None:
    assert isinstance(remote.engine, RemoteEngine)
    asked = request(here, rule, **fields)
    (ours,), (theirs,) = answers(here, asked), answers(remote, asked)
    assert timeless(ours) == timeless(theirs)
    assert numbers(ours, rule) == pytest.approx(numbers(theirs, rule), abs=1e-4)


def test_samples_have_names_of_their_own(remote: Stitch, here: Stitch) -> None:
    asked = {"sampling": Sampling(temperature=1.0, seed=5), "n": 3, "max_tokens": 8}
    texts = [[one.text for one in on.generate(QUESTION, **asked)] for on in (here, remote)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1


def test_kv_is_found_again(remote: Stitch) -> None:
    """By the name that was given, here as there."""
    first, second = (remote.generate(QUESTION, reuse="ann", max_tokens=4) for _ in range(2))
    assert not first.usage.cached_tokens and second.usage.cached_tokens > 16


def test_events_are_read_on_a_loop_too(remote: Stitch, here: Stitch) -> None:
    async def read(name: str) -> list[Event]:
        found = []
        async for event in remote.engine.events():
            found.append(event)
            if not isinstance(event, Token) and event.request == name:
                break
        return found

    asked = request(remote)
    name = remote.engine.submit(asked)
    found = asyncio.run(asyncio.wait_for(read(name), 30))
    (answer,) = collect(found, [name])
    assert timeless(answer) == timeless(answers(here, asked)[0])


def test_seconds_count_from_where_it_was_asked(remote: Stitch) -> None:
    (answer,) = answers(remote, request(remote))
    seconds = remote.engine.seconds
    assert 0 < answer.finished.usage.seconds < 30
    assert all(seconds(side, 1) > 0 for side in Side)
    assert seconds(Side.LLM, 99) == seconds(Side.LLM, 8)


def test_cancelled_is_cancelled(remote: Stitch) -> None:
    ends = []
    stream = remote.stream(QUESTION, max_tokens=200, ignore_eos=True)
    next(stream)
    stream.close()
    ends.append(stream.result().reason)
    assert ends == ["cancelled"] and remote.engine.idle
    pages = remote.engine.stats()["kv"]
    assert all(side["pages"]["used"] == 0 for side in pages.values())


def test_costs_are_measured_there(remote: Stitch) -> None:
    found = remote.measure()
    assert all(found.seconds(side, 1) > 0 for side in Side)
    assert remote.engine.reading(Side.LLM) > 0


def test_what_cannot_be_is_refused_in_the_same_words(remote: Stitch, here: Stitch) -> None:
    wrong: list[dict[str, Any]] = [
        {"prompts": dict.fromkeys(Side, (1,) * 300)},
        {"prompts": dict.fromkeys(Side, (1, 10**6))},
        {"prompts": {}},
        {"max_tokens": 0},
        {"sampling": Sampling(logit_bias=((10**6, 1.0),))},
    ]
    for fields in wrong:
        asked = replace(request(here), **fields)
        texts = []
        for on in (here, remote):
            with pytest.raises(BadRequest) as refused:
                on.engine.submit(asked)
            texts.append(str(refused.value))
        assert texts[0] == texts[1]
    assert remote.engine.idle


def test_memory_that_is_short_is_told_in_the_same_words() -> None:
    texts = []
    for process in (False, True):
        with (
            load(**pair().names, kv_memory=1e-5, process=process) as found,
            pytest.raises(BadRequest, match="KV memory") as refused,
        ):
            found.generate(QUESTION)
        texts.append(str(refused.value))
    assert texts[0] == texts[1]


def test_a_pair_that_cannot_be_loaded_is_refused_in_the_same_words(tmp_path: Path) -> None:
    broken = pair().copy(Side.LLM, tmp_path / "llm")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    texts = []
    for process in (False, True):
        with pytest.raises(BadModel) as refused:
            load(slm=str(pair().slm), llm=str(broken), process=process)
        texts.append(str(refused.value))
    assert texts[0] == texts[1] and str(broken) in texts[0]


def test_a_file_s_policy_is_found_there(remote: Stitch, here: Stitch, file: Path) -> None:
    mine = load_policy(f"{file}:Mine", tau=TAU)
    ours, theirs = (answers(on, request(on, mine))[0] for on in (here, remote))
    assert timeless(ours) == timeless(theirs)


def test_a_policy_that_fails_ends_its_own_request(remote: Stitch, file: Path) -> None:
    fails, sound = (
        remote.engine.submit(request(remote, load_policy(f"{file}:{name}", tau=TAU)))
        for name in ("Fails", "Mine")
    )
    bad, good = collect(drain(remote.engine), [fails, sound])  # type: ignore[arg-type]
    assert isinstance(bad.end, Failed) and isinstance(good.end, Finished)
    assert type(bad.end.error).__name__ == "BadPolicy" and "not today" in str(bad.end.error)


def test_a_policy_that_cannot_begin_ends_its_own_request(remote: Stitch, file: Path) -> None:
    name = remote.engine.submit(request(remote, load_policy(f"{file}:Never", tau=TAU)))
    (end,) = collect(drain(remote.engine), [name])  # type: ignore[arg-type]
    assert isinstance(end.end, Failed) and "not today" in str(end.end.error)
    assert remote.generate(QUESTION, max_tokens=4).usage.tokens == 4


def test_a_policy_without_a_module_is_refused(remote: Stitch) -> None:
    kind = type("Local", (type(make("llm")),), {"__module__": "__main__", "__slots__": ()})
    with pytest.raises(BadRequest, match="cannot go to the engine's process"):
        remote.engine.submit(request(remote, kind()))
    assert remote.engine.idle


def test_a_closed_one_says_so() -> None:
    found = load(**pair().names, tau=TAU, process=True)
    stream = found.stream(QUESTION, max_tokens=200, ignore_eos=True)
    next(stream)
    found.close()
    assert stream.result().reason == "cancelled"
    with pytest.raises(Closed):
        found.generate(QUESTION)


def test_what_needs_the_models_here_is_refused(remote: Stitch) -> None:
    with pytest.raises(BadRequest, match="in this process"):
        _ = remote.in_process
    assert stitch().in_process
