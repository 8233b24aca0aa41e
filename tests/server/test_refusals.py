"""What is refused, by name, in OpenAI's shape; and that null and defaults always pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rstitch.server import body as parsing
from rstitch.server.chat import Chat, ChatRefused
from rstitch.server.completions import Completion, CompletionRefused
from rstitch.server.fields import Fields
from tests.server.serving import CHAT, TEXT, Running, asking

CODES = {"bad_value", "missing_field", "unknown_field", "context_length_exceeded"}


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "json_object"),
        ({"logit_bias": "a"}, "logit_bias", "a"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "a"),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "100"),
        ({"logit_bias": {"985": 1}}, "logit_bias", "985"),
        ({"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias", "at most 300"),
        ({"presence_penalty": 3}, "presence_penalty", "less than or equal to 2"),
        ({"temprature": 1}, "temprature", "did you mean temperature?"),
        ({"nobody_knows": {"a": 1}}, "nobody_knows", "unknown field"),
        ({"temperature": "1"}, "temperature", '"1"'),
        ({"temperature": 2.1}, "temperature", "less than or equal to 2"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"n": 0}, "n", "greater than or equal to 1"),
        ({"n": 17}, "n", "at most 16"),
        ({"n": True}, "n", "true"),
        ({"max_tokens": 0}, "max_tokens", "greater"),
        ({"stop": ""}, "stop", '""; it should have at least 1 character'),
        ({"stop": [""]}, "stop.0", "at least 1"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 items"),
        ({"prompt": "a"}, "prompt", "it is one of /v1/completions"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role", "tool"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "missing"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content.0.type",
            "image_url",
        ),
        ({"messages": [{"role": "user", "content": "word " * 1500}]}, "messages", "context is"),
        ({"top_logprobs": 3}, "top_logprobs", "without logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
        ({"rstitch": {"tau": "0.1"}}, "rstitch.tau", '"0.1"'),
        ({"rstitch": {"colour": 1}}, "rstitch.colour", "unknown field"),
        ({"rstitch": {"version": 2}}, "rstitch.version", "2"),
        ({"rstitch": {"policy": "path.py:Class"}}, "rstitch.policy", "path.py:Class"),
        ({"rstitch": {"policy": "nobody"}}, "rstitch.policy", "known here: confidence, entropy"),
        ({"rstitch": {"policy": "hysteresis"}}, "rstitch.policy", "tau_out"),
        ({"rstitch": {"policy": {"name": "router", "file": "/etc"}}}, "rstitch.policy", "/etc"),
        (
            {"rstitch": {"policy": {"name": "window", "window": 10**400}}},
            "rstitch.policy.window",
            "less than or equal to 1000000",
        ),
        (
            {"rstitch": {"policy": {"name": "steered", "tau": 0.02, "llm_step": 1e-320}}},
            "rstitch.policy",
            "llm_step is 1e-320",
        ),
        ({"rstitch": {"policy": "llm", "tau": 0.1}}, "rstitch.tau", "has no tau"),
        ({"model": "builtin-slm", "rstitch": {"tau": 0.1}}, "rstitch.tau", "one side alone"),
        ({"model": "builtin@0.1", "rstitch": {"tau": 0.2}}, "rstitch.tau", "one of them"),
    ],
    ids=str,
)
def test_wrong_fields_are_named(
    server: Running, fields: dict[str, Any], param: str, says: str
) -> None:
    error = server.refused(CHAT, {**asking(), **fields})
    assert error["type"] == "invalid_request_error" and error["code"] in CODES
    assert error["param"] is not None and error["param"].startswith(param)
    assert says in error["message"] and "\n" not in error["message"]
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": []}, "prompt", "at least 1 item"),
        ({"prompt": [""]}, "prompt.0", "at least 1 character"),
        ({"prompt": ["a"] * 65}, "prompt", "at most 64 items"),
        ({"prompt": [1, "a"]}, "prompt.1", "integer"),
        ({"prompt": [985]}, "prompt", "985"),
        ({"prompt": [-1]}, "prompt.0", "greater than or equal to 0"),
        ({"prompt": [True]}, "prompt.0", "integer"),
        ({"prompt": {"a": 1}}, "prompt", "string"),
        ({}, "prompt", "missing"),
        ({"prompt": "a", "echo": True}, "echo", "not supported"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "not supported"),
        ({"prompt": "a", "best_of": 2}, "best_of", "not supported"),
        ({"prompt": "a", "logprobs": True}, "logprobs", "integer"),
        ({"prompt": "a", "messages": []}, "messages", "it is one of /v1/chat/completions"),
        ({"prompt": "a", "tools": []}, "tools", "it is one of /v1/chat/completions"),
    ],
    ids=str,
)
def test_wrong_completions(server: Running, fields: dict[str, Any], param: str, says: str) -> None:
    error = server.refused(TEXT, fields)
    assert error["param"] == param and error["code"] in CODES
    assert says in error["message"]


UNKNOWN = [
    "gpt-4o", "builtin@", "builtin@x", "builtin-slm@0.1", "", "a/b", "builtin@nan", "builtin@inf",
    "builtin@1e999", "builtin@0_1", "builtin@0.1\n", "builtin@ 0.1", "builtin@3",
    "builtin@1e999nats",
]  # fmt: skip


@pytest.mark.parametrize("model", UNKNOWN)
def test_unknown_models(server: Running, model: str) -> None:
    error = server.refused(CHAT, asking(model=model), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "builtin" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"3", b'"a"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b'{"seed": 1e999}',
        b'{"messages": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_bodies_that_are_no_request(server: Running, path: str, body: bytes) -> None:
    answer = server.http.post(path, content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


def test_a_body_that_is_too_long(server: Running) -> None:
    body = json.dumps(asking("a" * 2**20)).encode()
    assert server.http.post(CHAT, content=body).status_code == 413

    def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 2**16

    answer = server.http.post(CHAT, content=pieces())
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"


def test_a_whole_number_may_be_written_as_any_number(server: Running) -> None:
    """As JSON Schema has it: 2.0 is an integer, 2.5 and "2" are none."""
    for path, body in (
        (CHAT, asking(logprobs=True, top_logprobs=1, max_completion_tokens=2)),
        (TEXT, {"prompt": "a", "logprobs": 1}),
    ):
        asked = {**body, "n": 2, "max_tokens": 3, "seed": 1, "top_k": 5, "temperature": 0.5}
        asked["rstitch"] = {"max_llm_tokens": 1}
        floats = {k: float(v) if type(v) is int else v for k, v in asked.items()}
        floats["rstitch"] = {"max_llm_tokens": 1.0}
        assert '"n": 2.0' in json.dumps(floats)
        found = [server.post(path, one)["choices"] for one in (floats, asked)]
        for choice in (one for choices in found for one in choices):
            assert choice.pop("logprobs")  # whose last bits depend on who shares a step
        assert found[0] == found[1]
        for wrong in (2.5, "2", True, 1e300):
            assert server.refused(path, {**asked, "n": wrong})["param"] == "n"


def defaults(kind: type[Fields], refused: type[Fields]) -> dict[str, Any]:
    """For each refused field the last of its values that do nothing."""
    found = {}
    for name in refused.model_fields:
        (only,) = refused.model_fields[name].metadata
        found[name] = only.values[-1] if only.values else None
    assert set(found) < set(kind.model_fields)
    return found


def test_null_and_default_values_always_pass(server: Running) -> None:
    """Every known field as null, one nobody knows too; then every refused one by its default."""
    body = asking(max_tokens=1)
    nothing = {name: None for name in [*Chat.model_fields, "from_the_future"] if name not in body}
    plain = server.post(CHAT, body)["choices"]
    assert server.post(CHAT, {**body, **nothing})["choices"] == plain
    spelled = {"n": 1, "stream": False, "rstitch": {}, **defaults(Chat, ChatRefused)}
    assert server.post(CHAT, {**body, **spelled})["choices"] == plain
    text = {"prompt": "a", "max_tokens": 1}
    plain = server.post(TEXT, text)["choices"]
    nothing = {name: None for name in Completion.model_fields if name not in text}
    assert server.post(TEXT, {**text, **nothing})["choices"] == plain
    spelled = defaults(Completion, CompletionRefused)
    assert server.post(TEXT, {**text, **spelled})["choices"] == plain


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", CHAT, 405, "takes no GET; use POST"),
        ("POST", "/v1/models", 405, "takes no POST; use GET"),
        ("GET", "/nothing", 404, "'/nothing'; /openapi.json lists the routes"),
        ("POST", "/chat/completions", 404, f"did you mean {CHAT}?"),
        ("POST", f"{CHAT}/", 404, f"did you mean {CHAT}?"),
        ("GET", "/v1/models/%2e%2e%2fetc", 404, "/openapi.json"),
        ("GET", "/../../etc/passwd", 404, "/openapi.json"),
    ],
)
def test_unknown_paths_and_methods(
    server: Running, method: str, path: str, status: int, says: str
) -> None:
    answer = server.http.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and says in error["message"]
    assert ("allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 200),  # curl -d, as people write it
        ({"content-type": "application/json; charset=utf-8", "origin": "http://a.test"}, 200),
        ({"content-encoding": "identity"}, 200),
        ({"content-encoding": "gzip"}, 415),
        ({"content-type": "text/plain", "origin": "http://a.test"}, 415),
        ({"origin": "null"}, 415),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_what_a_body_may_come_as(
    server: Running, path: str, headers: dict[str, str], status: int
) -> None:
    """What a page may send without being asked whether it may (CORS) is not read."""
    body = json.dumps({**(asking() if path == CHAT else {"prompt": "a"}), "max_tokens": 1})
    answer = server.http.post(path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 415:
        assert answer.json()["error"]["code"] == "media"


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/metrics", "/v1/models", "/version"])
def test_head_is_get_without_a_body(server: Running, path: str) -> None:
    answer = server.http.head(path)
    assert answer.status_code == 200 and not answer.content
    assert answer.headers["content-type"] == server.http.get(path).headers["content-type"]
    assert server.http.head(CHAT).status_code == 405


WRONG = {
    "messages": b'{"messages":[' + b"1," * 100_000 + b"1]}",
    "parts": b'{"messages":[{"role":"user","content":[' + b"1," * 100_000 + b"1]}]}",
    "unknown fields": b"{" + b",".join(b'"k%d":1' % i for i in range(50_000)) + b"}",
    "biases": b'{"messages":[{"role":"user","content":"a"}],"logit_bias":{'
    + b",".join(b'"k%d":1' % i for i in range(50_000))
    + b"}}",
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_body_full_of_mistakes_is_not_told_mistake_by_mistake(
    server: Running, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To tell of 500,000 took ten seconds, in which no other client was heard."""
    seen: list[int] = []
    refusal = parsing._refusal

    def counted(kind: Any, body: bytes, details: list[Any]) -> Any:
        seen.append(len(details))
        return refusal(kind, body, details)

    monkeypatch.setattr(parsing, "_refusal", counted)
    answer = server.http.post(CHAT, content=body)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "bad_value"
    assert sum(seen) <= parsing.MANY
