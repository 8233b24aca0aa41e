"""`rstitch demo`: its bookkeeping on the tiny pair, and a run on the built-in one where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from rstitch.api import Answer, Stream
from rstitch.cli import demo, options
from rstitch.defaults import Defaults
from rstitch.pairs import BUILTIN
from rstitch.pairs.recipe.splits import problems
from rstitch.types import Sampling
from tests import pair as tiny
from tests.cli.terminal import rstitch

builtin = pytest.mark.skipif(
    not (BUILTIN / "pair.json").is_file(), reason="the built-in models are not in this checkout"
)
TOKENS = 6


class Short:
    """The tiny pair, whose context has no room for the problems: it is asked something shorter."""

    tau = tiny.TAU
    defaults = Defaults(tiny.TAU, Sampling())

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, float | None]] = []

    def __enter__(self) -> Short:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def generate(self, question: str, *, policy: str | None, tau: float | None) -> Answer:
        self.asked.append((question, policy, tau))
        return tiny.stitch().generate("Why?", policy=policy, tau=tau, max_tokens=TOKENS)

    def stream(self, question: str, *, tau: float | None) -> Stream:
        self.asked.append((question, "live", tau))
        return tiny.stitch().stream("Why?", tau=tau, max_tokens=TOKENS)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Short]:
    tiny.stitch()  # made here, so that nothing it says while loading counts as the demo's
    stitch = Short()
    monkeypatch.setattr(options, "open_pair", lambda *_, **__: stitch)
    yield stitch


def test_json_has_every_method_and_nothing_else_is_said(short: Short) -> None:
    done = rstitch("demo", "--problems", "2", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out.count("\n") == 1
    found = json.loads(done.out)
    assert (found["tau"], found["problems"]) == (tiny.TAU, 2)
    llm, slm, stitched = (found["methods"][n] for n in ("LLM alone", "SLM alone", "stitched"))
    assert (llm["llm_share"], slm["llm_share"]) == (1, 0) and 0 < stitched["llm_share"] < 1
    assert (llm["handoffs"], slm["handoffs"]) == (0, 0) and stitched["handoffs"] > 0
    assert llm["speed_up"] == 1
    for row in (llm, slm, stitched):
        assert row["tokens"] == 2 * TOKENS and row["right"] == 0
        assert row["speed_up"] == pytest.approx(llm["seconds"] / row["seconds"])


def test_methods_are_warmed_up_then_interleaved(short: Short) -> None:
    rstitch("demo", "--problems", "3", "--json", "--tau", "0.5")
    chosen = list(dict.fromkeys(question for question, *_ in short.asked))
    assert len(chosen) == 3
    each = [("llm", None), ("slm", None), (None, 0.5)]
    expected = [chosen[0], *chosen]
    assert short.asked == [(q, policy, tau) for q in expected for policy, tau in each]


def test_a_fresh_seed_asks_other_problems(short: Short) -> None:
    for seed in ("0", "4", "4"):
        rstitch("demo", "--problems", "1", "--json", "--fresh-seed", seed)
    first, second, third = (question for question, policy, _ in short.asked[::6] if policy == "llm")
    assert first != second == third


def test_a_table_on_stdout_and_the_rest_on_stderr(short: Short) -> None:
    done = rstitch("demo", "--problems", "1")
    assert done.code == 0
    question, policy, _ = short.asked[0]
    assert policy == "live"
    live = tiny.stitch().generate("Why?", max_tokens=TOKENS)
    for text in (question[:30], live.text, "SLM  LLM", "hand-offs", demo.NOTE[:20]):
        assert text in done.err
    for text in ("1 held-out problems", "LLM alone", "SLM alone", "stitched", "0/1", "speed-up"):
        assert text in done.out
    assert "\x1b" not in done.out + done.err


def test_a_row_adds_up() -> None:
    row = demo.Row()
    answer = tiny.stitch().generate("Why?", max_tokens=TOKENS)
    row.add(answer, True, 0.5)
    row.add(answer, False, 0.25)
    usage = answer.usage
    assert (row.right, row.marks, row.seconds) == (1, [True, False], 0.75)
    assert (row.tokens, row.llm_tokens) == (2 * TOKENS, 2 * usage.llm_tokens)
    assert row.handoffs == 2 * usage.handoffs


def test_right_answers_are_counted(short: Short, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that answers every problem but the first."""
    chosen = problems("test", 3)
    boxes = {p.question: f"\\boxed{{{p.answer}}}" for p in chosen[1:]}
    plain = tiny.stitch().generate("Why?", max_tokens=1)

    def answer(question: str, **_: Any) -> Answer:
        text = boxes.get(question, "no idea")
        return Answer(text, False, "stop", plain.usage, plain.trace)

    monkeypatch.setattr(short, "generate", answer)
    table = demo._compare(short, chosen, None)  # type: ignore[arg-type]
    assert [row.marks for row in table.values()] == [[False, True, True]] * 3


def test_a_bad_tau_is_refused_before_anything_is_loaded() -> None:
    assert rstitch("demo", "--tau", "low").line.startswith("--tau is 'low'; it must be a number")


@builtin
def test_the_built_in_pair() -> None:
    done = rstitch("demo", "--problems", "4", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["methods"]
    assert found["LLM alone"]["llm_share"] == 1 and found["SLM alone"]["llm_share"] == 0
    assert 0 < found["stitched"]["llm_share"] < 0.5
    assert found["LLM alone"]["right"] >= 3


@builtin
def test_the_built_in_pair_live() -> None:
    done = rstitch("demo", "--problems", "1")
    assert done.code == 0, done.err
    assert "\\boxed{" in done.out and "held-out problems" in done.out
