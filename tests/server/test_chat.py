"""Chat over HTTP: what a reply says, what a stream says, and that they say the same."""

from __future__ import annotations

from typing import Any

import pytest

from rstitch.api import Stitch
from rstitch.policy import Policy, make
from rstitch.types import Side
from tests.server.serving import CHAT, QUESTION, Running, asking

SEEDED: dict[str, Any] = {"temperature": 0.9, "seed": 7}


def test_a_reply_is_the_pairs_answer(server: Running, pair: Stitch) -> None:
    reply = server.chat()
    answer = pair.generate(QUESTION)
    (choice,) = reply["choices"]
    message = choice["message"]
    assert message["role"] == "assistant"
    assert message["reasoning"] == message["reasoning_content"] == answer.reasoned.reasoning
    assert message["content"] == answer.reasoned.answer.lstrip()
    assert choice["finish_reason"] == "stop"
    usage = answer.usage
    assert reply["usage"]["prompt_tokens"] == usage.prompt_tokens
    assert reply["usage"]["completion_tokens"] == usage.tokens
    assert reply["usage"]["total_tokens"] == usage.tokens + usage.prompt_tokens
    assert 0 < reply["usage"]["completion_tokens_details"]["reasoning_tokens"] < usage.tokens
    extra = reply["rstitch"]
    assert (extra["slm_tokens"], extra["llm_tokens"]) == (usage.slm_tokens, usage.llm_tokens)
    assert extra["llm_share"] == usage.llm_share and extra["discards"] == usage.discards
    assert (extra["handoffs"], extra["catchup_tokens"]) == (usage.handoffs, usage.catchup_tokens)
    assert (extra["version"], extra["policy"], extra["degraded"]) == (1, "entropy", False)
    assert extra["tau"] == pair.tau
    assert extra["seconds"] > 0 and extra["queue_seconds"] >= 0


def test_a_thought_that_is_still_open_is_all_reasoning(server: Running) -> None:
    (choice,) = server.chat(max_tokens=4)["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == "" and choice["message"]["reasoning"]
    usage = server.chat(max_tokens=4)["usage"]
    assert usage["completion_tokens"] == 4
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 4


def joined(chunks: list[dict[str, Any]], index: int) -> dict[str, Any]:
    """A choice as a client puts it together."""
    found: dict[str, Any] = {"content": "", "reasoning": "", "reasoning_content": "", "tokens": []}
    logprobs: list[Any] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            for name in ("content", "reasoning", "reasoning_content"):
                found[name] += delta.get(name) or ""
            found["tokens"] += chunk["rstitch"]["tokens"]
            logprobs += (choice["logprobs"] or {"content": []})["content"]
            found["finish_reason"] = choice["finish_reason"]
    return {**found, "logprobs": logprobs}


def without_times(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: v for name, v in token.items() if name != "seconds"} for token in tokens]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 3, **SEEDED},
        {"stop": ["answer", "."]},
        {"max_tokens": 9},
        {"stop": "boxed{", "n": 2, **SEEDED},
    ],
    ids=str,
)
def test_a_joined_stream_is_the_reply(server: Running, fields: dict[str, Any]) -> None:
    body = asking(**fields, logprobs=True, top_logprobs=2, rstitch={"provenance": True})
    reply = server.post(CHAT, body)
    chunks = server.chunks(CHAT, {**body, "stream_options": {"include_usage": True}})
    for choice in reply["choices"]:
        found = joined(chunks, choice["index"])
        message = choice["message"]
        assert found["content"] == message["content"]
        assert found["reasoning"] == found["reasoning_content"] == (message["reasoning"] or "")
        assert found["finish_reason"] == choice["finish_reason"]
        want = choice["logprobs"]["content"]
        assert [one["bytes"] for one in found["logprobs"]] == [one["bytes"] for one in want]
        got = [one["logprob"] for one in found["logprobs"]]
        assert got == pytest.approx([one["logprob"] for one in want], abs=1e-4)
        told = without_times(choice["rstitch"]["tokens"])
        assert [t["id"] for t in without_times(found["tokens"])] == [t["id"] for t in told]
        assert [t["text"] for t in found["tokens"]] == [t["text"] for t in told]
    last = chunks[-1]
    for usage in (last["usage"], reply["usage"]):
        del usage["prompt_tokens_details"]  # what an earlier request left there
    assert last["choices"] == [] and last["usage"] == reply["usage"]
    for name in ("slm_tokens", "llm_tokens", "discards", "handoffs", "tau", "policy"):
        assert last["rstitch"][name] == reply["rstitch"][name]
    assert {chunk["id"] for chunk in chunks} == {last["id"]}


def test_chunks_are_chunks(server: Running) -> None:
    chunks = server.chunks(CHAT, asking())
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == "stop" and set(reasons[:-1]) <= {None}
    assert "usage" not in chunks[-1] and "tokens" not in chunks[-1]["rstitch"]
    assert chunks[-1]["rstitch"]["slm_tokens"] > 0
    assert all("rstitch" not in chunk for chunk in chunks[:-1])


def test_provenance_is_the_trace(server: Running, pair: Stitch) -> None:
    (choice,) = server.chat(rstitch={"provenance": True, "tau": 0.05})["choices"]
    trace = pair.generate(QUESTION, tau=0.05).trace
    assert without_times(choice["rstitch"]["tokens"]) == [
        {
            "position": proposal.position,
            "id": proposal.token,
            "text": text,
            "side": proposal.side.label,
            "entropy": pytest.approx(proposal.entropy, abs=1e-4),
            "keep": proposal.keep,
            "next": proposal.next_side.label,
            "logprob": pytest.approx(proposal.logprob, abs=1e-4),
        }
        for proposal, text in zip(trace.proposals, trace.texts, strict=True)
    ]
    assert any(not token["keep"] for token in choice["rstitch"]["tokens"])
    seconds = [token["seconds"] for token in choice["rstitch"]["tokens"]]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_same_seed_same_answer_and_n_are_different(server: Running) -> None:
    first, second = (server.chat(n=4, **SEEDED)["choices"] for _ in range(2))
    assert first == second
    assert [choice["index"] for choice in first] == [0, 1, 2, 3]
    texts = {str(choice["message"]) for choice in first}
    assert len(texts) > 1, "four of one text by chance: under one in a thousand here"
    (alone,) = server.chat(**SEEDED)["choices"]
    assert alone == first[0]


@pytest.mark.parametrize(
    ("model", "policy", "sides"),
    [
        ("builtin", "entropy", {"slm", "llm"}),
        ("builtin@0.1", "entropy", {"slm", "llm"}),
        ("builtin@0.69nats", "entropy", {"slm", "llm"}),
        ("builtin@2", "entropy", {"slm"}),
        ("builtin@-1", "entropy", {"llm"}),
        ("builtin-slm", "slm", {"slm"}),
        ("builtin-llm", "llm", {"llm"}),
    ],
)
def test_models(server: Running, pair: Stitch, model: str, policy: str, sides: set[str]) -> None:
    reply = server.chat(model=model, rstitch={"provenance": True})
    assert reply["model"] == model and reply["rstitch"]["policy"] == policy
    tokens = reply["choices"][0]["rstitch"]["tokens"]
    assert {token["side"] for token in tokens} == sides
    size = len(pair.tokenizer)
    assert 0.69 / 7 < pair.normalised("0.69nats") < 0.69 / 6 and size > 900


def test_policies_by_name(server: Running, pair: Stitch) -> None:
    params = {"tau_out": 0.05, "tau_back": 0.02}
    ways: list[tuple[Any, Policy]] = [
        ({"policy": "window", "tau": 0.05}, make("window", tau=0.05)),
        ({"policy": "rewind"}, make("rewind", tau=pair.tau)),
        ({"policy": {"name": "hysteresis", **params}}, make("hysteresis", **params)),
    ]
    for extra, policy in ways:
        reply = server.chat(rstitch=extra, max_tokens=24)
        want = pair.generate(QUESTION, policy=policy, max_tokens=24)
        assert reply["rstitch"]["policy"] == policy.name
        assert reply["rstitch"]["tau"] == getattr(policy, "tau", None)
        assert reply["choices"][0]["message"]["reasoning"] == want.reasoned.reasoning


def test_fingerprint_stands_for_pair_policy_and_tau(server: Running) -> None:
    ways: list[dict[str, Any]] = [
        {}, {"model": "builtin"}, {"model": "builtin@0.03"}, {"model": "builtin@0.05"},
        {"model": "builtin-slm"}, {"rstitch": {"policy": "rewind"}},
    ]  # fmt: skip
    prints = [server.chat(max_tokens=1, **way)["system_fingerprint"] for way in ways]
    assert prints[0] == prints[1] == prints[2], "0.03 is the pair's own"
    assert len(set(prints)) == 4
    assert all(one.startswith("fp_") for one in prints)


def test_messages_of_all_kinds_are_the_templates(server: Running, pair: Stitch) -> None:
    """A developer's word is a system's, parts are lines, and what was thought is left out."""
    parts = [{"type": "text", "text": "How many apples"}, {"type": "text", "text": "are left?"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?", "reasoning_content": "a", "tool_calls": None},
        {"role": "user", "content": parts, "name": None},
    ]
    plain = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "How many apples\nare left?"},
    ]
    replies = [server.post(CHAT, {"messages": one, "max_tokens": 8}) for one in (messages, plain)]
    assert replies[0]["choices"] == replies[1]["choices"]
    ids = pair.prompts(plain, policy=make("slm"))[Side.SLM]
    assert replies[0]["usage"]["prompt_tokens"] == len(ids)


def test_logprobs_are_bytes_and_joined_they_are_the_text(server: Running) -> None:
    (choice,) = server.chat(logprobs=True, top_logprobs=3)["choices"]
    content = choice["logprobs"]["content"]
    data = bytes(byte for token in content for byte in token["bytes"])
    message = choice["message"]
    assert data.decode() == message["reasoning"] + "</think>\n" + message["content"]
    for token in content:
        assert len(token["top_logprobs"]) == 3 and token["logprob"] <= 0
        assert token["logprob"] == pytest.approx(token["top_logprobs"][0]["logprob"])
        assert bytes(token["bytes"]).decode() == token["token"]


def test_fields_without_effect_are_named(server: Running) -> None:
    body = asking(max_tokens=1, user="ann", metadata={"a": "b"}, store=False)
    answer = server.http.post(CHAT, json=body)
    assert answer.status_code == 200
    assert answer.headers["x-rstitch-ignored"] == "user, metadata, store"
    with server.http.stream("POST", CHAT, json={**body, "stream": True}) as streamed:
        assert streamed.headers["x-rstitch-ignored"] == "user, metadata, store"
        streamed.read()
    assert "x-rstitch-ignored" not in server.http.post(CHAT, json=asking(max_tokens=1)).headers


def test_a_speaker_may_have_a_name(server: Running) -> None:
    body = asking(max_tokens=3)
    named = {**body, "messages": [{**one, "name": "ann"} for one in body["messages"]]}
    answers = [server.http.post(CHAT, json=one) for one in (body, named)]
    assert answers[1].headers["x-rstitch-ignored"] == "messages.name"
    texts = [one.json()["choices"][0]["message"]["content"] for one in answers]
    assert texts[0] == texts[1]
