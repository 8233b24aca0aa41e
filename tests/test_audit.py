"""`explain` refuses what the decisions alone do not show: tokens cut off, counts, coins, passes.

An auditor's edits that were once "reproduced" with exit 0, each found at its record with its value;
and honest traces of every kind of pass, which have to stand.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rstitch import trace as traces
from rstitch.api import load
from rstitch.audit import Difference
from rstitch.explain import check
from rstitch.policy import make
from rstitch.trace import Trace
from rstitch.types import Sampling, Side
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, TAU, pair, stitch
from tests.test_explain import change, copied


def found(trace: Trace) -> Difference:
    difference = check(trace)
    assert difference is not None, "the change went unnoticed"
    return difference


# -- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["entropy", "rewind", "slm"])
@pytest.mark.parametrize("tokens", [1, 10, 1000])
def test_tokens_cut_off(name: str, tokens: int) -> None:
    trace = copied(name)
    del trace.proposals[-tokens:], trace.texts[-tokens:]
    assert found(trace).record == "end" or found(trace).index == len(trace.proposals) - 1


@pytest.mark.parametrize(
    "field",
    [
        "prompt_tokens",
        "slm_tokens",
        "llm_tokens",
        "tokens",
        "llm_share",
        "discards",
        "handoffs",
        "rewound_tokens",
        "catchup_tokens",
    ],
)
def test_a_count_of_the_end(field: str) -> None:
    trace = copied("rewind")
    trace.end["usage"][field] = 999
    assert found(trace).record == "end"
    assert f"has {field} 999; the " in found(trace).what
    del trace.end["usage"][field]
    assert f"has {field} None; the " in found(trace).what


@pytest.mark.parametrize(
    ("end", "what"),
    [
        ({"reason": "tired"}, "has reason 'tired'"),
        ({"usage": None}, "has usage None"),
        ({"usage": {"seconds": math.nan}}, "has seconds nan"),
        ({"usage": {"seconds": "soon"}}, "has seconds 'soon'"),
    ],
)
def test_an_end_that_cannot_be(end: dict[str, Any], what: str) -> None:
    trace = copied()
    usage = end.get("usage", {})
    merged = usage if usage is None else {**trace.end["usage"], **usage}
    trace.end |= {**end, "usage": merged}
    assert what in found(trace).what and found(trace).record == "end"


def test_without_an_end_it_was_interrupted() -> None:
    for stay in (0, 7):
        trace = copied()
        del trace.proposals[stay:], trace.texts[stay:]
        trace.end = {}
        assert check(trace) is None
        del trace.forwards[stay // 2 :]  # the process was killed while it wrote them
        assert check(trace) is None
        trace.forwards.clear()
        assert check(trace) is None


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entropy", math.nan),
        ("entropy", 1.5),
        ("entropy", -0.1),
        ("logprob", math.nan),
        ("logprob", -math.inf),
        ("logprob", 0.5),
        ("token", -1),
        ("token", 1.5),
        ("token", "7"),
    ],
)
def test_a_number_out_of_range(field: str, value: Any) -> None:
    trace = copied()
    change(trace, 6, **{field: value})
    difference = found(trace)
    assert (difference.index, difference.record) == (6, "decision")
    assert difference.what.startswith(f"has {field} {value!r}; it must be ")


@pytest.mark.parametrize(
    ("name", "signal"), [("confidence", "max_prob"), ("margin", "margin"), ("random", "coin")]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.5, 1.5])
def test_a_signal_out_of_range(name: str, signal: str, value: float) -> None:
    trace = copied(name)
    change(trace, 6, signals={signal: value})
    assert found(trace).index == 6 and f"has {signal} {value!r}" in found(trace).what


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_a_score_out_of_range(value: float) -> None:
    trace = copied("rewind")
    index = next(i for i, p in enumerate(trace.proposals) if p.span)
    change(trace, index, span=(value, *trace.proposals[index].span[1:]))
    assert found(trace).index == index and f"has span {value!r}" in found(trace).what


def test_coins_are_those_of_the_seed() -> None:
    """One edited without crossing a rate, and a whole answer under another seed."""
    trace = copied("random")
    coin = trace.proposals[9].signals["coin"]
    change(trace, 9, signals={"coin": coin * (1 + 2**-22)})
    assert found(trace).index == 9 and "that of its seed and position is" in found(trace).what
    trace = copied("random")
    trace.sampling = replace(trace.sampling, seed=12)
    assert found(trace).index == 0
    trace.sampling = replace(trace.sampling, seed=None)
    assert "whose seed the trace does not say" in found(trace).what


def with_likeliest(temperature: float = 0.0) -> Trace:
    sampling = Sampling(temperature, seed=3)
    answer = stitch().generate(QUESTION, max_tokens=12, top_logprobs=3, sampling=sampling)
    assert check(answer.trace) is None
    return copy.deepcopy(answer.trace)


def test_a_token_id_where_the_likeliest_are_recorded() -> None:
    trace = with_likeliest()
    other = trace.proposals[5].top_logprobs[1][0]
    change(trace, 5, token=other)
    assert found(trace).index == 5 and "in its top_logprobs" in found(trace).what
    trace = with_likeliest()
    change(trace, 5, token=300)
    assert found(trace).index == 5 and "not in them" in found(trace).what
    trace = with_likeliest()
    second, logprob = trace.proposals[5].top_logprobs[1]
    change(trace, 5, token=second, logprob=logprob)
    assert found(trace).index == 5 and "greedy is the likeliest" in found(trace).what
    with_likeliest(temperature=1.5)


def test_a_logprob_beside_the_largest_probability() -> None:
    trace = copied("confidence")
    change(trace, 5, logprob=trace.proposals[5].logprob - 0.01)
    assert found(trace).index == 5
    trace = copied("confidence", 1.0)
    change(trace, 5, logprob=0.0)
    assert found(trace).index == 5


# -- passes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["entropy", "rewind", "random", "llm"])
def test_passes_left_out(name: str) -> None:
    trace = copied(name)
    trace.forwards.clear()
    assert found(trace).record == "pass" and "is missing" in found(trace).what
    for index in (0, 5, len(copied(name).forwards) - 1):
        trace = copied(name)
        del trace.forwards[index]
        assert found(trace).record == "pass" and index <= found(trace).index <= index + 1


@pytest.mark.parametrize(
    "edit",
    [
        {"side": Side.LLM},
        {"rows": 0},
        {"new_tokens": 0},
        {"new_tokens": 2, "batch_tokens": 2},
        {"context": 200},
        {"context": 0},
        {"batch_tokens": 9},
        {"seconds": math.nan},
        {"seconds": -1.0},
    ],
)
def test_a_pass_that_cannot_be(edit: dict[str, Any]) -> None:
    trace = copied()
    index = next(i for i, f in enumerate(trace.forwards) if i and f.side is Side.SLM)
    trace.forwards[index] = replace(trace.forwards[index], **edit)
    if edit.get("new_tokens") == 2:  # what was read twice shows in the catch-up's count, if at all
        trace.end["usage"]["catchup_tokens"] += 1
    assert found(trace).record in ("pass", "end")


def test_a_pass_too_many() -> None:
    trace = copied()
    trace.forwards.append(trace.forwards[-1])
    assert found(trace).record == "pass" and found(trace).index == len(trace.forwards) - 1
    trace.end["reason"] = "cancelled"  # then the last pass may have read a part of what is unseen
    trace.end["usage"]["catchup_tokens"] += 1  # here again a token of the other side
    assert check(trace) is None


@pytest.mark.parametrize("name", ["entropy", "rewind"])
@pytest.mark.parametrize(
    "settings", [{"max_step_tokens": 4}, {"kv_memory": 0.0001, "max_rows": 4}, {"max_rows": 2}]
)
def test_honest_passes_of_every_kind(name: str, settings: dict[str, Any]) -> None:
    """Prompts in chunks, samples that share one, rows that lose their KV and read all again."""
    rule = make(name, tau=TAU)
    with load(slm=str(pair().slm), llm=str(pair().llm), **settings) as small:
        hot = Sampling(1.0, seed=2)
        answers = small.generate(QUESTION, n=4, policy=rule, sampling=hot, max_tokens=30)
        for answer in answers:
            assert check(answer.trace) is None
        stream = small.stream(QUESTION, policy=rule)
        for _ in range(5):
            next(stream)
        stream.close()
        assert check(stream.trace) is None and stream.trace.end["reason"] == "cancelled"


def test_a_cancelled_catch_up_counts_as_far_as_it_went() -> None:
    """The other side has read all but the last token in chunks of one, and nobody waited."""
    trace = copied()
    kept = [p.side for p in trace.proposals if p.keep][:-1]
    at = len(trace.prompts[Side.LLM])
    template = trace.forwards[-1]
    for n in range(1, len(kept) + 1):
        again = replace(template, side=Side.LLM, new_tokens=1, batch_tokens=1, context=at + n)
        trace.forwards.append(again)
    trace.end["reason"] = "cancelled"
    assert found(trace).record == "end"
    trace.end["usage"]["catchup_tokens"] += kept.count(Side.SLM)
    assert check(trace) is None


# -- the command ----------------------------------------------------------------------------------


def lines_of(trace: Trace, path: Path) -> list[dict[str, Any]]:
    with path.open("w", encoding="utf-8") as file:
        traces.write([trace], file)
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda lines: [x for x in lines if x["type"] != "token"], "end has slm_tokens "),
        (lambda lines: [x for x in lines if x["type"] != "forward"], "pass 0 is missing"),
        (
            lambda lines: [*lines[:4], {**lines[4], "entropy": math.nan}, *lines[5:]],
            "decision 3 of",
        ),
    ],
)
def test_the_record_is_named(
    tmp_path: Path, edit: Callable[[list[Any]], list[Any]], said: str
) -> None:
    path = tmp_path / "t"
    changed = edit(lines_of(copied(), path))
    path.write_text("".join(json.dumps(line) + "\n" for line in changed))
    done = rstitch("explain", str(path), "--no-show")
    assert done.code == 1 and f"NOT reproduced: {said}" in done.out
