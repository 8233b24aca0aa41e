"""Who may ask, how much, and what is told of them."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from rstitch.server.keys import Key, Keys, hash_of
from tests.server.serving import CHAT, Running, asking, serving

ANN, BEN = "rs-ann-0123456789", "rs-ben-0123456789"


@pytest.fixture(scope="module")
def locked() -> Any:
    keys = Keys(
        (Key("ann", hash_of(ANN)), Key("ben", hash_of(BEN), tokens_per_minute=200, concurrency=1))
    )
    with serving(keys=keys, listen={"cors": ("https://example.org",)}) as running:
        yield running


def ask(running: Running, key: str | None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = asking("Hi.", **{"max_tokens": 2, **fields})
    return running.http.post(CHAT, json=body, headers=headers)


@pytest.mark.parametrize("key", [None, "rs-nobody-0123456789", ANN + "x", "ann", "\xff" * 20])
def test_without_a_known_key(locked: Running, key: str | None) -> None:
    headers = {} if key is None else {"authorization": f"Bearer {key}".encode("latin-1")}
    answer = locked.http.post(CHAT, json=asking(), headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert locked.http.get("/v1/models", headers=headers).status_code == 401


def test_with_one(locked: Running) -> None:
    assert ask(locked, ANN).status_code == 200
    headers = {"authorization": f"bearer {ANN}"}
    assert locked.http.get("/v1/models", headers=headers).status_code == 200
    for path in ("/health", "/ready", "/metrics", "/version"):
        assert locked.http.get(path).status_code == 200


def test_quota(locked: Running) -> None:
    """It is charged what it took, told when there is more, and what will never be."""
    assert ask(locked, BEN).status_code == 200
    refused = ask(locked, BEN, max_tokens=180)
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "quota"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    never = ask(locked, BEN, max_tokens=300)
    assert never.status_code == 400 and never.json()["error"]["code"] == "too_large"
    assert ask(locked, BEN).status_code == 200
    assert ask(locked, ANN, max_tokens=180).status_code == 200


def test_kv_is_reused_within_a_key_and_not_between_keys(locked: Running) -> None:
    text = "Tom has 5 red pens and 3 blue pens and 9 green pens. How many pens does Tom have?"
    messages = [{"role": "user", "content": text}]

    def cached(key: str) -> int:
        usage = ask(locked, key, messages=messages, max_tokens=1).json()["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert cached(ANN) < cached(ANN)
    assert cached(BEN) < 16 <= cached(ANN)


def test_keys_and_words_are_in_no_log_and_no_metric(
    locked: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="rstitch.server"):
        first = ask(locked, ANN, model="builtin@0.05")
        ask(locked, "rs-nobody-0123456789", model="secretmodel")
        ask(locked, ANN, model="secretmodel")
        ask(locked, ANN, secretfield="secretvalue")
        locked.until(lambda: len(caplog.records) == 4)
    facts = [record.facts for record in caplog.records]  # type: ignore[attr-defined]
    assert [one["status"] for one in facts] == [200, 401, 404, 400]
    assert facts[0]["key"] == "ann" and facts[0]["model"] == "builtin@0.05"
    assert facts[0]["id"] in first.json()["id"] and facts[0]["id"] == first.headers["x-request-id"]
    assert facts[0]["slm_tokens"] + facts[0]["llm_tokens"] == 2
    assert facts[0]["reason"] == "length" and facts[0]["ttft_seconds"] > 0
    told = str(facts) + locked.http.get("/metrics").text
    for secret in (ANN, BEN, "nobody", "secret", "Hi."):
        assert secret not in told


def test_other_pages_may_ask_where_they_are_allowed(locked: Running, server: Running) -> None:
    preflight = {"origin": "https://example.org", "access-control-request-method": "POST"}
    answer = locked.http.options(CHAT, headers=preflight)
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    other = locked.http.options(CHAT, headers={**preflight, "origin": "https://example.com"})
    assert "access-control-allow-origin" not in other.headers
    closed = server.http.get("/version", headers={"origin": "https://example.org"})
    assert not [name for name in closed.headers if name.startswith("access-control")]


def test_refusals_are_counted_by_reason(locked: Running) -> None:
    def counts() -> dict[str, float]:
        return {n: v for n, v in locked.metrics().items() if n.startswith("rstitch_refused")}

    before = counts()
    ask(locked, None)
    ask(locked, ANN, n=0)
    ask(locked, ANN, colour=1)
    after = counts()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {
        'rstitch_refused_total{reason="key"}': 1,
        'rstitch_refused_total{reason="invalid"}': 2,
    }
