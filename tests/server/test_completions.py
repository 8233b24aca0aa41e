"""Texts that go on: several prompts, token ids, log-probabilities, and streams of them."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.api import Stitch
from rstitch.policy import make
from rstitch.types import Sampling, Side
from tests.server.serving import TEXT, Running

PROMPTS = ["Mia has 3 boxes", "So 3*7="]


def test_a_text_goes_on_as_it_does_in_python(server: Running, pair: Stitch) -> None:
    reply = server.post(TEXT, {"prompt": PROMPTS[0], "max_tokens": 12})
    answer = pair.generate(PROMPTS[0], raw=True, max_tokens=12)
    assert reply["choices"][0]["text"] == answer.text and reply["object"] == "text_completion"
    assert reply["usage"]["completion_tokens"] == answer.usage.tokens
    assert reply["choices"][0]["finish_reason"] == answer.reason == "length"
    assert len(server.post(TEXT, {"prompt": "So 3*7="})["choices"][0]["text"]) > 0


def test_token_ids_are_the_llms(server: Running, pair: Stitch) -> None:
    ids = list(pair.prompts(PROMPTS[0], policy=make("llm"), raw=True)[Side.LLM])
    told: dict[str, Any] = {"max_tokens": 8}
    by_ids, by_text = (server.post(TEXT, {"prompt": p, **told}) for p in (ids, PROMPTS[0]))
    assert by_ids["choices"] == by_text["choices"]
    assert by_ids["usage"]["prompt_tokens"] == len(ids)
    both = server.post(TEXT, {"prompt": [ids, ids], **told})
    assert [one["text"] for one in both["choices"]] == [by_ids["choices"][0]["text"]] * 2


def test_equal_prompts_are_drawn_independently_unless_there_is_a_seed(server: Running) -> None:
    """A seed fixes the draw of each prompt as if it were alone; without one they differ. Eight
    equal texts of 12 tokens at that temperature are less likely than 1 in 10**9."""
    body: dict[str, Any] = {"prompt": [PROMPTS[0]] * 8, "temperature": 2.0, "max_tokens": 12}
    free = [one["text"] for one in server.post(TEXT, body)["choices"]]
    assert len(set(free)) > 1
    fixed = [one["text"] for one in server.post(TEXT, {**body, "seed": 5})["choices"]]
    assert len(set(fixed)) == 1


def test_several_prompts_each_n_times(server: Running, pair: Stitch) -> None:
    body = {"prompt": PROMPTS, "n": 2, "max_tokens": 6, "temperature": 0.8, "seed": 11}
    choices = server.post(TEXT, body)["choices"]
    assert [one["index"] for one in choices] == [0, 1, 2, 3]
    sampling = Sampling(temperature=0.8, seed=11)
    want = pair.batch(PROMPTS, n=2, raw=True, max_tokens=6, sampling=sampling)
    assert [one["text"] for one in choices] == [answer.text for group in want for answer in group]


@pytest.mark.parametrize(
    "fields", [{}, {"n": 2, "temperature": 0.9, "seed": 2}, {"stop": "="}], ids=str
)
def test_a_joined_stream_is_the_reply(server: Running, fields: dict[str, Any]) -> None:
    body = {"prompt": PROMPTS, "max_tokens": 10, "logprobs": 2, **fields}
    reply, chunks = server.post(TEXT, body), server.chunks(TEXT, body)
    for choice in reply["choices"]:
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
        for name in ("tokens", "text_offset"):
            joined = [one for part in parts for one in part["logprobs"][name]]
            assert joined == choice["logprobs"][name]


def test_offsets_point_into_the_text(server: Running) -> None:
    (choice,) = server.post(TEXT, {"prompt": PROMPTS[0], "max_tokens": 10, "logprobs": 0})[
        "choices"
    ]
    told = choice["logprobs"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)
    assert all(value <= 0 for value in told["token_logprobs"])
