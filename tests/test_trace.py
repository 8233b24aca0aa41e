"""Traces on disk: what is written is what is read, and a damaged file is refused by line."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstitch import trace as traces
from rstitch.errors import BadTrace
from rstitch.trace import Trace
from rstitch.types import Forward, Proposal, Sampling, Side

LINE_BREAKS = "one\ntwo\r\nthree\u2028four\u2029five\x85six\x0bseven\x1ceight"
"""Everything that str.splitlines cuts at."""


def proposal(position: int = 0, **changes: Any) -> Proposal:
    settings: dict[str, Any] = {
        "position": position,
        "token": 7,
        "side": Side.SLM,
        "keep": True,
        "next_side": Side.SLM,
        "entropy": 0.25,
        "logprob": -0.5,
        "signals": {},
    }
    return Proposal(**{**settings, **changes})


def example(id: str = "r0", text: str = "é\n") -> Trace:
    """One of everything."""
    found = Trace(
        id=id,
        policy={"name": "random", "p": 0.1, "q": 0.4},
        sampling=Sampling(0.7, 5, 0.9, 0.05, seed=2**62, presence_penalty=1, logit_bias=((4, -1),)),
        prompts={Side.SLM: (1, 2), Side.LLM: (1, 2, 3)},
        models={"slm": "a/b", "llm": "c"},
        meta={"problem": 3, "of": ["x"]},
    )
    found.proposals = [
        proposal(0, signals={"coin": 0.3}, top_logprobs=((7, -0.5), (8, -1.25))),
        proposal(1, keep=False, next_side=Side.LLM, signals={"coin": 0.01}),
        proposal(1, side=Side.LLM, signals={"coin": 0.39}),
    ]
    found.texts = ["a", "", text]
    found.forwards = [Forward(Side.SLM, 2, 3, 5, 4, 0.125), Forward(Side.LLM, 1, 4, 6, 4, 0.5)]
    found.end = {"reason": "length", "usage": {"tokens": 2}}
    return found


def saved(path: Path, *found: Trace) -> Path:
    with path.open("w", encoding="utf-8") as file:
        traces.write(found, file)
    return path


def test_everything_is_read_back(tmp_path: Path) -> None:
    written = example(text=LINE_BREAKS)
    assert traces.read(saved(tmp_path / "t", written)) == [written]


def test_what_was_taken_back_is_read_back_and_else_not_written(tmp_path: Path) -> None:
    """Impossible tokens have a log-probability of minus infinity."""
    written = example()
    assert not any(set(line) & set(traces.REWINDING) for line in written.lines())
    written.proposals[0] = proposal(0, keep=False, taken_back=True, signals={"coin": 0.3})
    written.proposals[2] = proposal(0, side=Side.LLM, span=(-0.1, float("-inf")), back=1)
    assert traces.read(saved(tmp_path / "t", written)) == [written]


def test_every_line_is_json_with_the_id_of_its_answer(tmp_path: Path) -> None:
    lines = saved(tmp_path / "t", example("left"), example("right")).read_text().split("\n")
    records = [json.loads(line) for line in lines[:-1]]
    kinds = ["answer", *["token"] * 3, *["forward"] * 2, "end"]
    assert [(r["type"], r["id"]) for r in records] == [
        *[(kind, "left") for kind in kinds],
        *[(kind, "right") for kind in kinds],
    ]
    assert records[0]["version"] == traces.VERSION and lines[-1] == ""


@given(st.floats(0, 1, width=32), st.floats(width=32, allow_nan=False))
def test_float32_values_come_back_bit_by_bit(entropy: float, signal: float) -> None:
    written = example()
    written.proposals[0] = proposal(entropy=entropy, signals={"coin": signal})
    (token,) = [r for r in as_read(written) if r["type"] == "token"][:1]
    pairs = ((token["entropy"], entropy), (token["signals"]["coin"], signal))
    assert all(struct.pack("<f", read) == struct.pack("<f", value) for read, value in pairs)


def as_read(written: Trace) -> list[dict[str, Any]]:
    file = io.StringIO()
    traces.write([written], file)
    return [json.loads(line) for line in file.getvalue().split("\n")[:-1]]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_comes_back(text: str) -> None:
    assert [r["text"] for r in as_read(example(text=text)) if r["type"] == "token"][-1] == text


# -- several answers, and answers that are not complete --------------------------------------------


def test_several_answers_share_a_file_even_with_their_lines_mixed(tmp_path: Path) -> None:
    left, right = example("r0", "left"), example("r1", "right")
    mixed = [line for pair in zip(left.lines(), right.lines(), strict=True) for line in pair]
    path = tmp_path / "t"
    path.write_text("".join(json.dumps(line) + "\n" for line in mixed))
    assert traces.read(path) == [left, right]


def test_two_runs_appended_to_one_file_are_both_kept(tmp_path: Path) -> None:
    """Ids begin at r0 in every process: the second answer used to replace the first."""
    first, second = example("r0", "first"), example("r0", "second")
    assert traces.read(saved(tmp_path / "t", first, second)) == [first, second]


def test_an_interrupted_answer_is_readable(tmp_path: Path) -> None:
    written = example()
    written.end, written.forwards = {}, []
    path = saved(tmp_path / "t", written)
    assert '"end"' not in path.read_text()
    assert traces.read(path) == [written]


@pytest.mark.parametrize("before_end", [1, 2, 30, 200])
def test_a_torn_last_line_is_left_out(tmp_path: Path, before_end: int) -> None:
    """Wherever it is torn, in the middle of a character or behind an inner brace too."""
    path = saved(tmp_path / "t", example(), example("r1", "é" * 200))
    whole = path.read_bytes().split(b"\n")[:-1]
    del whole[-3:]  # the end and the forwards: the last line is now the token with the é
    torn = b"\n".join(whole)[:-before_end]
    path.write_bytes(torn)
    first, second = traces.read(path)
    assert first == example()
    assert second.proposals == example().proposals[:2] and not second.end


def test_torn_behind_an_inner_brace(tmp_path: Path) -> None:
    path = saved(tmp_path / "t", example())
    text = path.read_text()
    path.write_text(text[: text.rindex('"tokens": 2}') + len('"tokens": 2}')])
    (read,) = traces.read(path)
    assert read.forwards == example().forwards and not read.end


def test_a_last_line_without_its_line_feed_counts(tmp_path: Path) -> None:
    path = saved(tmp_path / "t", example())
    path.write_bytes(path.read_bytes()[:-1])
    assert traces.read(path) == [example()]


# -- refused --------------------------------------------------------------------------------------


def edited(line: int, change: Callable[[dict[str, Any]], object]) -> str:
    """The example's lines, with one record changed."""
    records = [json.loads(json.dumps(record)) for record in example().lines()]
    change(records[line - 1])
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (1, lambda r: r.update(version=2)),
        (1, lambda r: r.pop("prompts")),
        (1, lambda r: r["prompts"].update(vlm=[1])),
        (1, lambda r: r["sampling"].update(temperature=-1)),
        (1, lambda r: r["sampling"].update(beams=4)),
        (2, lambda r: r.pop("entropy")),
        (2, lambda r: r.update(entropy=None)),
        (2, lambda r: r.update(entropy="unsure")),
        (2, lambda r: r.update(keep="no")),
        (2, lambda r: r.update(side=0)),
        (2, lambda r: r.update(next_side="VLM")),
        (2, lambda r: r.update(signals={"coin": [1]})),
        (2, lambda r: r.update(extra=1)),
        (2, lambda r: r.update(taken_back=1)),
        (2, lambda r: r.update(back="two")),
        (2, lambda r: r.update(span=["low"])),
        (3, lambda r: r.update(id="nobody")),
        (5, lambda r: r.pop("seconds")),
        (6, lambda r: r.update(type="backward")),
    ],
)
def test_a_wrong_record_is_refused_by_line(
    tmp_path: Path, line: int, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "t"
    path.write_text(edited(line, change))
    refused(path, line)


@pytest.mark.parametrize("broken", [b"", b"{", b"3", b'"text"', b"[]", b"{}", b"\xff\xfe", b"null"])
def test_a_broken_middle_line_is_refused(tmp_path: Path, broken: bytes) -> None:
    path = saved(tmp_path / "t", example())
    lines = path.read_bytes().split(b"\n")
    lines[2] = broken
    path.write_bytes(b"\n".join(lines))
    refused(path, 3)


def refused(path: Path, line: int) -> None:
    with pytest.raises(BadTrace) as error:
        traces.read(path)
    assert str(error.value).startswith(f"{path}, line {line}: not a trace record")
    assert "\n" not in str(error.value)


def test_an_unknown_version_names_both(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text(edited(1, lambda r: r.update(version=99)))
    with pytest.raises(BadTrace, match=f"version 99, this rstitch reads {traces.VERSION}"):
        traces.read(path)


@pytest.mark.parametrize("content", [b"", b'{"type": "ans'])
def test_a_file_without_a_whole_answer_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(BadTrace, match="holds no trace"):
        traces.read(path)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(BadTrace, match=f"cannot read {path}: {why}"):
            traces.read(path)
