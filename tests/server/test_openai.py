"""OpenAI's own client, as its users use it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.server.serving import QUESTION, Running

ASKED = [{"role": "user", "content": QUESTION}]


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_chat(client: openai.OpenAI, server: Running) -> None:
    reply = client.chat.completions.create(model="builtin", messages=ASKED)  # type: ignore[arg-type]
    (choice,) = reply.choices
    assert choice.finish_reason == "stop" and "boxed" in (choice.message.content or "")
    assert choice.message.reasoning_content  # type: ignore[attr-defined]
    usage = reply.usage
    assert usage is not None and usage.completion_tokens_details is not None
    assert 0 < (usage.completion_tokens_details.reasoning_tokens or 0) < usage.completion_tokens
    assert reply.rstitch["llm_tokens"] > 0  # type: ignore[attr-defined]
    assert reply._request_id and reply.id.endswith(reply._request_id)


def test_streamed_chat(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="builtin", messages=ASKED)  # type: ignore[arg-type]
    chunks = list(
        client.chat.completions.create(
            model="builtin",
            messages=ASKED,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    thought = [
        getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices
    ]
    assert "".join(thought) == whole.choices[0].message.reasoning_content  # type: ignore[attr-defined]
    assert chunks[-1].usage is not None and whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_stream_helper_joins_to_the_same(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="builtin", messages=ASKED, n=2, seed=5, temperature=0.8, logprobs=True, top_logprobs=2
    ) as stream:  # type: ignore[arg-type]
        stream.until_done()
        joined = stream.get_final_completion()
    whole = client.chat.completions.create(
        model="builtin", messages=ASKED, n=2, seed=5, temperature=0.8, logprobs=True,
        top_logprobs=2,
    )  # type: ignore[call-overload]  # fmt: skip
    for one, other in zip(joined.choices, whole.choices, strict=True):
        assert one.message.content == other.message.content
        assert one.finish_reason == other.finish_reason
        assert one.logprobs and other.logprobs and one.logprobs.content
        assert [t.token for t in one.logprobs.content] == [t.token for t in other.logprobs.content]


def test_completions(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="builtin-slm", prompt=["Mia has", "Tom has"], n=2, max_tokens=6, logprobs=3,
        temperature=0.5, seed=1,
    )  # fmt: skip
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    for choice in reply.choices:
        assert choice.logprobs is not None and choice.logprobs.tokens is not None
        assert len(choice.logprobs.tokens) <= 6 and choice.logprobs.top_logprobs is not None
        assert len(choice.logprobs.top_logprobs[0]) == 3
        assert "".join(choice.logprobs.tokens).startswith(choice.text)
    chunks = list(
        client.completions.create(model="builtin-slm", prompt="Mia has", max_tokens=6, stream=True)
    )
    single = client.completions.create(model="builtin-slm", prompt="Mia has", max_tokens=6)
    assert "".join(chunk.choices[0].text for chunk in chunks) == single.choices[0].text


def test_our_key_and_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["builtin", "builtin-slm", "builtin-llm"]
    for name in (*names, "builtin@0.02", "builtin@0.24nats"):
        assert client.models.retrieve(name).id == name
    for name in ("builtin@3", "builtin-llm@0.1", "gpt-4o"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)
    reply = client.chat.completions.create(
        model="builtin",
        messages=ASKED,  # type: ignore[arg-type]
        extra_body={"rstitch": {"tau": 0.2, "provenance": True}},
    )
    assert reply.rstitch["tau"] == 0.2  # type: ignore[attr-defined]
    assert reply.choices[0].rstitch["tokens"]  # type: ignore[attr-defined]


def test_errors_are_its_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="known: builtin"):
        client.chat.completions.create(model="gpt-4o", messages=ASKED)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError, match="tools") as error:
        client.chat.completions.create(
            model="builtin",
            messages=ASKED,  # type: ignore[arg-type]
            tools=[{"type": "function", "function": {"name": "f"}}],
        )
    assert error.value.param == "tools"


def test_penalties_and_bias(client: openai.OpenAI) -> None:
    plain = client.completions.create(model="builtin", prompt="Mia has", max_tokens=8)
    forced = client.completions.create(
        model="builtin", prompt="Mia has", max_tokens=3, logit_bias={"300": 100}, logprobs=0
    )
    assert forced.choices[0].logprobs is not None
    assert len(set(forced.choices[0].logprobs.tokens or [])) == 1
    other = client.completions.create(
        model="builtin", prompt="Mia has", max_tokens=8, logit_bias={"300": 100},
        frequency_penalty=2, presence_penalty=2,
    )  # fmt: skip
    assert plain.choices[0].text != other.choices[0].text


def test_giving_up_a_stream(client: openai.OpenAI, server: Running) -> None:
    stream = client.chat.completions.create(
        model="builtin", messages=ASKED, stream=True, temperature=2, max_tokens=900
    )  # type: ignore[call-overload]
    next(iter(stream))
    stream.close()
    assert server.idle()
