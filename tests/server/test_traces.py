"""Traces of replies: `rstitch explain` reproduces them, others do not see them, old ones go."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rstitch import trace as traces
from rstitch.api import Stitch
from rstitch.engine.request import Request
from rstitch.server.chat import Chat
from rstitch.server.keys import Key
from rstitch.server.playground import routes
from rstitch.server.playground.traces import REPLIES, Traces, written
from rstitch.server.served import Served
from rstitch.types import Proposal, Side, Token
from tests.cli.terminal import rstitch
from tests.server.serving import CHAT, Running, asking, config

TOLD: dict[str, Any] = {"rstitch": {"provenance": True}}
ANN, BEN = Key("ann", b"a"), Key("ben", b"b")


def saved(server: Running, reply: str, path: Path) -> Path:
    answer = server.http.get(f"/v1/rstitch/traces/{reply}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"] == f'attachment; filename="{reply}.jsonl"'
    path.write_bytes(answer.content)
    return path


@pytest.mark.parametrize("stream", [False, True])
def test_explain_reproduces_what_is_downloaded(
    server: Running, pair: Stitch, tmp_path: Path, stream: bool
) -> None:
    body = asking(**TOLD)
    reply = server.chunks(CHAT, body)[0]["id"] if stream else server.post(CHAT, body)["id"]
    path = saved(server, reply, tmp_path / "trace")
    done = rstitch("explain", str(path), "--no-show")
    assert (done.code, done.err) == (0, "") and "decisions reproduced" in done.out
    (found,) = traces.read(path)
    want = pair.generate(body["messages"][0]["content"]).trace
    assert found.texts == want.texts and found.end["usage"]["discards"] > 0
    assert [one.token for one in found.proposals] == [one.token for one in want.proposals]
    assert found.models == {} and found.meta == {"model": "builtin"}


def test_samples_are_answers_of_one_file(server: Running, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"n": 3, "temperature": 0.9, "seed": 7, "max_tokens": 20}
    reply = server.chat(**TOLD, **fields)
    path = saved(server, reply["id"], tmp_path / "trace")
    assert rstitch("explain", str(path), "--no-show").code == 0
    found = traces.read(path)
    assert [one.id for one in found] == [f"{reply['id']}.{i}" for i in range(3)]
    for one, choice in zip(found, reply["choices"], strict=True):
        assert [p.token for p in one.proposals] == [t["id"] for t in choice["rstitch"]["tokens"]]


def test_a_trace_is_there_while_its_answer_is_written(server: Running, tmp_path: Path) -> None:
    body = {**asking(**TOLD, model="builtin-llm"), "stream": True}
    with server.http.stream("POST", CHAT, json=body) as answer:
        line = next(line for line in answer.iter_lines() if '"id":"' in line)
    reply = line.split('"id":"')[1].split('"')[0]
    assert server.idle(), "the client that left cancels its answer"
    path = saved(server, reply, tmp_path / "trace")
    assert rstitch("explain", str(path), "--no-show").code == 0
    assert traces.read(path)[0].end == {}


def test_there_is_none_without_provenance_or_of_that_name(server: Running) -> None:
    for name in (server.chat(max_tokens=2)["id"], "chatcmpl-nobody", "..%2F..%2Fetc%2Fpasswd"):
        answer = server.http.get(f"/v1/rstitch/traces/{name}")
        assert answer.status_code == 404, name
    assert "only those of the latest" in server.http.get("/v1/rstitch/traces/a").text


def asked(pair: Stitch) -> list[Request]:
    task = Served(pair, config()).asking.read(Chat.model_validate(asking()), "a")
    return list(task.requests)


def token(position: int) -> Token:
    proposal = Proposal(position, 5, Side.SLM, True, Side.SLM, 0.0, -0.1, {})
    return Token("r", proposal, "a")


def text(kept: Traces, reply: str, key: Key) -> str | None:
    found = kept.found(reply, key)
    return None if found is None else written(found)


def test_a_long_trace_is_not_written_in_the_thread_of_the_events(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 556 proposals it took 0.4 s, in which nobody else was heard."""
    reply, threads = server.chat(**TOLD)["id"], list[threading.Thread]()

    def told(found: Any) -> str:
        threads.append(threading.current_thread())
        return written(found)

    monkeypatch.setattr(routes, "written", told)
    assert server.http.get(f"/v1/rstitch/traces/{reply}").status_code == 200
    assert threads and server.thread not in threads


def test_what_was_found_does_not_grow_while_it_is_written(pair: Stitch) -> None:
    kept = Traces(on=True)
    kept.begin("a", ANN, asked(pair), "a")
    kept.add("a", 0, token(0))
    found = kept.found("a", ANN)
    kept.add("a", 0, token(1))
    assert found is not None and len(found[0].proposals) == len(found[0].texts) == 1


def test_nobody_sees_anothers(pair: Stitch) -> None:
    kept = Traces(on=True)
    kept.begin("a", ANN, asked(pair), "a")
    assert text(kept, "a", ANN) is not None
    assert text(kept, "a", BEN) is None


def test_the_oldest_go_by_number_and_by_size(pair: Stitch) -> None:
    requests, kept = asked(pair), Traces(on=True, most=10)
    for i in range(REPLIES + 1):
        kept.begin(str(i), ANN, requests, "a")
    assert text(kept, "0", ANN) is None and text(kept, "1", ANN) is not None
    for i in range(8):
        kept.add("31", 0, token(i))
    for i in range(3):
        kept.add("32", 0, token(i))
    assert text(kept, "31", ANN) is None, "11 proposals are more than 10"
    found = text(kept, "32", ANN)
    assert found is not None and found.count('"token"') == 2 * 3, "a type and a field each"
    for i in range(3, 11):
        kept.add("32", 0, token(i))
    assert text(kept, "32", ANN) is None, "one that is too long by itself"
    kept.add("32", 0, token(11))
    kept.begin("33", ANN, requests, "a")
    kept.add("33", 0, token(0))
    assert text(kept, "33", ANN) is not None, "what went is not counted any more"


def test_nothing_is_kept_where_there_is_no_page(pair: Stitch) -> None:
    kept = Traces(on=False)
    kept.begin("a", ANN, asked(pair), "a")
    kept.add("a", 0, token(0))
    assert text(kept, "a", ANN) is None


def test_the_words_of_tokens(server: Running, pair: Stitch) -> None:
    reply = server.chat(**TOLD)
    tokens = reply["choices"][0]["rstitch"]["tokens"]
    ids = [one["id"] for one in tokens if one["side"] == "slm"]
    answer = server.http.get("/v1/rstitch/words", params={"slm": ",".join(map(str, ids))})
    found = answer.json()
    assert found["llm"] == [] and len(found["slm"]) == len(ids)
    assert found["slm"][:3] == [pair.models[Side.SLM].tokenizer.decode([i]) for i in ids[:3]]


@pytest.mark.parametrize("given", ["985", "-1", "a", "1,,2", "\u0663", "9" * 30, "1," * 5000 + "1"])
def test_wrong_ids_are_refused(server: Running, given: str) -> None:
    answer = server.http.get("/v1/rstitch/words", params={"llm": given})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "llm"
