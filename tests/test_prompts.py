"""Prompts per side: suffixes that one side alone may see, and a thinking block opened for both."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch import load, prompts
from rstitch.errors import BadRequest
from rstitch.prompts import opened, with_suffix
from rstitch.types import Side
from tests.pair import QUESTION, pair, stitch, tokenizer

USER = {"role": "user", "content": "Why?"}
SYSTEM = {"role": "system", "content": "Be kind."}
REPLY = {"role": "assistant", "content": "So."}


def test_a_suffix_follows_the_last_user_message() -> None:
    found = with_suffix([SYSTEM, USER, REPLY, USER, REPLY], "Be brief.")
    assert [m["content"] for m in found] == ["Be kind.", "Why?", "So.", "Why? Be brief.", "So."]
    assert USER == {"role": "user", "content": "Why?"}, "the caller's message was changed"


@pytest.mark.parametrize(("suffix", "content"), [("\n\nx", "Why?\n\nx"), ("x", "Why? x")])
def test_a_suffix_brings_its_own_gap_or_gets_a_space(suffix: str, content: str) -> None:
    assert with_suffix([USER], suffix)[0]["content"] == content


def test_without_a_suffix_messages_stay_the_same() -> None:
    messages = [SYSTEM]
    assert with_suffix(messages, "") is messages


def test_a_suffix_without_a_user() -> None:
    with pytest.raises(BadRequest, match="the suffix 'x' needs a user message to follow"):
        with_suffix([SYSTEM], "x")


@pytest.mark.parametrize(
    ("text", "tail"),
    [("a<think>\n", "<think>\n"), ("a<think>", "<think>"), ("<think>a", ""), ("", "")],
)
def test_the_opening_of_a_block(text: str, tail: str) -> None:
    assert opened(text) == tail


def other(template: str) -> Any:
    words = tokenizer()
    words.chat_template = template
    return words


def decoded(templates: dict[Side, str]) -> dict[Side, str]:
    sides = {side: ("one", other(template)) for side, template in templates.items()}
    ids = prompts.render("Why?", sides, {Side.SLM: "x"})
    return {side: sides[side][1].decode(list(found)) for side, found in ids.items()}


def test_a_block_opened_by_one_template_is_opened_for_both() -> None:
    plain, thinking = "{{ messages[0].content }}:", "{{ messages[0].content + '!<think>\n\n' }}"
    found = decoded({Side.SLM: plain, Side.LLM: thinking})
    assert found == {Side.SLM: "Why? x:<think>\n\n", Side.LLM: "Why?!<think>\n\n"}
    assert decoded({Side.SLM: plain}) == {Side.SLM: "Why? x:"}
    assert decoded({Side.SLM: plain, Side.LLM: plain})[Side.LLM] == "Why?:"


def test_a_suffix_reaches_its_side_alone() -> None:
    with load(slm=str(pair().slm), llm=str(pair().llm), tau=0.5, suffix={"slm": "Hm."}) as both:
        answer = both.generate(QUESTION, max_tokens=1)
        slm, llm = (both.tokenizer.decode(list(answer.trace.prompts[side])) for side in Side)
        raw = both.generate(QUESTION, raw=True, max_tokens=1)
    assert slm.replace(f"{QUESTION} Hm.", QUESTION) == llm and "Hm." not in llm
    assert stitch().tokenizer.decode(list(raw.trace.prompts[Side.SLM])) == QUESTION


def test_a_suffix_for_nobody() -> None:
    with pytest.raises(BadRequest, match="suffix has no side 'both'; it takes slm and llm"):
        load(slm=str(pair().slm), llm=str(pair().llm), suffix={"both": "x"})
