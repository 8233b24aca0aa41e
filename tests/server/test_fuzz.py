"""Bodies that nobody would send: only 2xx and 4xx, whatever they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rstitch.server.chat import Chat
from rstitch.server.completions import Completion
from tests.server.serving import CHAT, TEXT, Running, asking

NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.sampled_from([2**31, 2**63, 10**400, -1]),
    st.floats(), st.sampled_from([0.5, 1e308, -0.0]),
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "builtin", "builtin-slm", "builtin@0.1", "../../etc/passwd", "\x00", "�"]),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
EXTRA = st.dictionaries(
    st.sampled_from(
        ["version", "tau", "policy", "max_llm_share", "max_llm_tokens", "deadline", "provenance"]
    ),
    st.one_of(
        JSON,
        st.sampled_from([0.1, 1, True, "entropy", "router", "steered", "random", "path.py:Class"]),
        st.fixed_dictionaries({"name": st.sampled_from(["router", "window", "turns", "phase"])}),
    ),
    max_size=4,
)
VALUES: dict[str, Any] = {
    "rstitch": EXTRA,
    "model": TEXTS,
    "messages": st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "a"]), "content": JSON}),
        max_size=3,
    ),
    "prompt": st.one_of(TEXTS, st.lists(st.integers(-1, 1200), max_size=5), JSON),
    "logit_bias": st.dictionaries(st.integers(-1, 1200).map(str), NUMBERS, max_size=3),
    "stop": st.one_of(TEXTS, st.lists(TEXTS, max_size=3)),
    "n": st.integers(-1, 4),
    "stream": st.booleans(),
    "logprobs": st.one_of(st.booleans(), st.integers(-1, 21)),
    "top_logprobs": st.integers(-1, 21),
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path and a body: sound but for a few fields, or any JSON, or any bytes."""
    path = draw(st.sampled_from([CHAT, TEXT]))
    if draw(st.integers(0, 9)) == 0:
        return path, draw(st.one_of(st.binary(max_size=60), JSON.map(dumped)))
    body: dict[str, Any] = asking("Hi.") if path == CHAT else {"prompt": "Hi."}
    names = [*(Chat if path == CHAT else Completion).model_fields, "unknown"]
    for name in draw(st.lists(st.sampled_from(names), max_size=4)):
        body[name] = draw(st.one_of(VALUES.get(name, NUMBERS), JSON))
    return path, dumped(body)


def dumped(content: Any) -> bytes:
    """With NaN, Infinity and lone surrogates as they come."""
    return json.dumps(content, ensure_ascii=True).encode()


def fuzz(server: Running, count: int) -> None:
    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(one=bodies())
    def sends(one: tuple[str, bytes]) -> None:
        path, body = one
        answer = server.http.post(path, content=body)
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            assert len(answer.text) < 1000
        else:
            assert '"server_error"' not in answer.text

    sends()


def test_300_bodies(short: Running) -> None:
    fuzz(short, 300)


@pytest.mark.slow
def test_50000_bodies(short: Running) -> None:
    fuzz(short, 50_000)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "..", "path.py:Class", "router,file=/etc", "a\x00"]
)
def test_no_name_reaches_the_file_system(
    short: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it stands in the path, in a header or in a field."""
    opened: list[Any] = []
    monkeypatch.setattr("builtins.open", lambda *a, **k: opened.append(a))
    monkeypatch.setattr("pathlib.Path.open", lambda *a, **k: opened.append(a))
    for extra in ({"policy": name}, {"policy": {"name": "router", "file": name}}):
        assert short.http.post(CHAT, json=asking(rstitch=extra)).status_code == 400
    assert short.http.post(CHAT, json=asking(model=name)).status_code == 404
    headers = {"x-file": name.replace("\x00", ""), "authorization": f"Bearer {name}"[:20]}
    if "\x00" not in name:
        assert short.http.post(CHAT, json=asking(max_tokens=1), headers=headers).status_code == 200
    assert short.http.get("/v1/models/" + name.replace("\x00", "%00")).status_code == 404
    assert not opened
