"""What a client is told does not depend on which process the engine is in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.serving import CHAT, QUESTION, TEXT, Running, asking

SEEDED: dict[str, Any] = {"temperature": 0.9, "seed": 7}
ALL: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "rstitch": {"provenance": True}}
OWN = {"id", "created", "seconds", "queue_seconds", "prompt_tokens_details"}
"""What two replies to one request differ in: names, times, and what earlier requests have left."""
LIMITS: dict[str, Any] = {"provenance": True, "tau": 0.001, "max_llm_share": 0.1}


def told(reply: Any) -> Any:
    """All of it but that, whatever is in it; numbers up to what threads make of the last bits."""
    if isinstance(reply, dict):
        return {name: told(value) for name, value in reply.items() if name not in OWN}
    if isinstance(reply, list):
        return [told(value) for value in reply]
    return pytest.approx(reply, abs=1e-4) if isinstance(reply, float) else reply


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, asking(**ALL)),
        (CHAT, asking(**ALL, n=3, **SEEDED)),
        (CHAT, asking(**ALL, stop=["boxed{"], max_tokens=60)),
        (CHAT, asking(model="builtin-llm", logprobs=True, max_tokens=9)),
        (CHAT, asking(**{**ALL, "rstitch": {"provenance": True, "policy": "rewind"}})),
        (CHAT, asking(**{**ALL, "rstitch": LIMITS})),
        (TEXT, {"prompt": [QUESTION, "3 + 4 ="], "logprobs": 2, "max_tokens": 12, "n": 2}),
    ],
    ids=str,
)
def test_a_reply(shared: Running, apart: Running, path: str, body: dict[str, Any]) -> None:
    here, there = (on.post(path, {"seed": 5, **body}) for on in (shared, apart))
    assert there.keys() == here.keys() and there["usage"]["completion_tokens"] > 3
    assert told(there) == told(here)


def test_a_stream(shared: Running, apart: Running) -> None:
    """Its pieces are cut by time, so what they come to is compared."""
    body = asking(**ALL, n=2, **SEEDED, stream_options={"include_usage": True})
    ends = []
    for on in (shared, apart):
        chunks = on.chunks(CHAT, body)
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        texts = [
            "".join(one["delta"].get("content") or "" for one in choices if one["index"] == index)
            for index in (0, 1)
        ]
        ends.append((texts, told(chunks[-1])))
    assert ends[0] == ends[1] and all(ends[0][0])


def test_the_next_turn_of_a_chat_reads_what_is_new_only(shared: Running, apart: Running) -> None:
    """And is answered as where nothing was kept."""
    question = "Ann has 5 boxes with 6 pens each and buys 3 pens more. How many pens has she now?"
    turns: list[dict[str, Any]] = asking(question)["messages"]
    first = [on.post(CHAT, {"messages": turns, **ALL}) for on in (shared, apart)]
    assert told(first[1]) == told(first[0])
    said = first[0]["choices"][0]["message"]["content"]
    turns = [*turns, {"role": "assistant", "content": said}, *asking()["messages"]]
    second = [on.post(CHAT, {"messages": turns, **ALL}) for on in (shared, apart)]
    kept = [one["usage"]["prompt_tokens_details"]["cached_tokens"] for one in second]
    assert kept[0] == kept[1] > 16
    assert told(second[1]) == told(second[0])
