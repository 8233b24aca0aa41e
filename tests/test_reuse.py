"""The turns of a chat through the templates: the same answers, and less to read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from rstitch.api import Stitch
from rstitch.explain import check
from rstitch.stream import Answer
from rstitch.types import Side
from tests import pair as tiny
from tests.models import assert_clean
from tests.pair import QUESTION

MORE = ["And how many are left?", "Say it again."]


@pytest.fixture
def stitch() -> Iterator[Stitch]:
    shared = tiny.stitch()
    yield shared
    shared.engine.forget()
    assert_clean(shared.engine)


def chat(stitch: Stitch, reuse: str | None, strip: bool) -> list[Answer]:
    """Three turns; strip: no answer is part of what follows, as where all of it were thoughts."""
    messages, answers = list[dict[str, str]](), list[Answer]()
    for text in (QUESTION, *MORE):
        messages.append({"role": "user", "content": text})
        answers.append(stitch.generate(messages, max_tokens=25, reuse=reuse))
        said = "" if strip else answers[-1].text
        messages.append({"role": "assistant", "content": said})
    return answers


@pytest.mark.parametrize("strip", [False, True])
def test_a_chat_with_reuse_is_the_chat_without(stitch: Stitch, strip: bool) -> None:
    got, want = chat(stitch, "", strip), chat(stitch, None, strip)
    assert [answer.text for answer in got] == [answer.text for answer in want]
    assert [answer.usage.cached_tokens for answer in want] == [0, 0, 0]
    first, *later = got
    assert first.usage.cached_tokens == 0
    for before, answer in zip(got, later, strict=False):
        prompts = before.trace.prompts, answer.trace.prompts
        shared = sum(a == b for a, b in zip(*(p[Side.SLM] for p in prompts), strict=False))
        assert answer.usage.slm_cached_tokens >= len(prompts[0][Side.SLM]) - 8 > 20, shared
        assert answer.usage.llm_cached_tokens >= len(prompts[0][Side.LLM]) - 8
        assert check(answer.trace) is None


def test_a_trace_that_lies_about_it_is_found(stitch: Stitch) -> None:
    trace = chat(stitch, "", False)[-1].trace
    usage = trace.end["usage"]
    for side in Side:
        name = f"{side.label}_cached_tokens"
        wrong = copy.deepcopy(trace)
        wrong.end["usage"][name] += 1
        found = check(wrong)
        told = f"has {name} {usage[name] + 1}; its first pass began after {usage[name]}"
        assert found is not None and (found.record, found.what) == ("end", told)
        old: dict[str, Any] = {k: v for k, v in usage.items() if not k.endswith("cached_tokens")}
        wrong.end["usage"] = old
        assert check(wrong) is None, "records of earlier versions do not say"


def test_without_a_name_nothing_is_kept(stitch: Stitch) -> None:
    stitch.generate(QUESTION, max_tokens=9)
    assert stitch.engine.stats()["kv"]["slm"]["idle_rows"] == 0
    stitch.generate(QUESTION, max_tokens=9, reuse="ann")
    stats = stitch.engine.stats()["kv"]["slm"]
    assert stats["idle_rows"] == 1 and stats["idle_tokens"] > 20
