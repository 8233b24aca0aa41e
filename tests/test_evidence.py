"""What the evidence says of its tables, and that nothing of it is run twice or left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import evidence, evidence_page
from rstitch.evals.table import Row, Table


def row(method: str, right: float, seconds: float) -> Row:
    off = 0.001 if method in evidence.CONTROLS else None
    return Row(
        method, 10, 10, right, (0.0, 1.0), 0.0, 0, 50.0, 0.2, 3.0, seconds, share_off=off
    )  # fmt: skip


def tables(**changed: Row) -> dict[str, Table]:
    """The brief pair's marks and times, the sibling's times; a row by name replaces another."""
    marks = {name: row(name, 0.5, 0.1) for name in evidence.BATCHED}
    marks |= {"llm": row("llm", 0.98, 0.1), "stitched": row("stitched", 0.97, 0.1)}
    times = {name: row(name, one.right, 0.4) for name, one in marks.items()}
    times |= {"llm": row("llm", 0.98, 1.0), "stitched": row("stitched", 0.97, 0.2)}
    times["speculative"] = row("speculative", 0.98, 1.2)
    sibling = {"llm": row("llm", 0.98, 2.0), "speculative": row("speculative", 0.98, 1.0)}
    parts = {"marks": marks, "times": times, "sibling": sibling}
    for place, one in changed.items():
        parts[place][one.method] = one
    names = ("brief-test-accuracy", "brief-test-latency", "sibling-test-latency")
    return {
        name: Table(list(rows.values()), "llm", 1, [])
        for name, rows in zip(names, parts.values(), strict=True)
    }


def test_the_rival_is_the_better_draft_each_beside_the_llm_of_its_own_run() -> None:
    assert evidence.rival(tables()) == pytest.approx(0.5 / 0.2)
    slow = row("speculative", 0.98, 4.0)
    assert evidence.rival(tables(sibling=slow)) == pytest.approx(1.2 / 0.2)


def test_only_what_is_faster_and_more_accurate_beats_stitching() -> None:
    assert evidence.beaten(tables()) == []
    assert evidence.beaten(tables(times=row("cascade", 0.9, 0.1))) == []  # 0.5 by its own marks
    both = tables(times=row("cascade", 0.9, 0.1), marks=row("cascade", 0.99, 0.1))
    assert evidence.beaten(both) == ["cascade"]
    assert evidence.beaten(tables(times=row("early-exit", 0.99, 0.1))) == ["early-exit"]


def test_controls_are_held_to_the_best_of_them() -> None:
    assert evidence.control_gap(tables()) == pytest.approx(0.47)
    assert evidence.control_gap(tables(marks=row("coin", 0.9, 0.1))) == pytest.approx(0.07)
    unlike = replace(row("coin", 0.9, 0.1), share_off=0.02)
    assert evidence.control_gap(tables(marks=unlike)) is None


def test_every_part_has_a_directory_of_its_own() -> None:
    for quick in (False, True):
        names = [part.name for part in evidence.parts(quick)]
        assert len(set(names)) == len(names)
    whole = list(evidence.parts(quick=False))
    for pair in evidence.PAIRS:
        batched = {p.task for p in whole if p.pair == pair and p.methods == evidence.BATCHED}
        assert batched >= set(evidence.TASKS)


def test_a_part_is_whole_when_nothing_is_owed(tmp_path: Path) -> None:
    part = replace(next(evidence.parts(quick=True)), problems=1)
    folder = tmp_path / part.name
    assert not evidence.is_whole(part, tmp_path)
    folder.mkdir()
    asked = {"problems": 1, "weights": evidence.weights_of(part)}
    config = {"version": 1, "asked": asked, "methods": dict.fromkeys(part.methods, {})}
    (folder / "config.json").write_text(json.dumps(config))
    answer = json.dumps({"type": "answer"}) + "\n"
    (folder / "records.jsonl").write_text(answer * 2 + json.dumps({"type": "batch"}) + "\n")
    assert not evidence.is_whole(part, tmp_path)
    with (folder / "records.jsonl").open("a") as file:
        file.write(answer)
    assert evidence.is_whole(part, tmp_path)
    with pytest.raises(SystemExit, match="other problems, methods or weights"):
        evidence.is_whole(replace(part, problems=4000), tmp_path)


def test_the_page_says_what_was_saved() -> None:
    found = [evidence_page.RESULTS / f"{name}.json" for name in ("evidence", "harmful")]
    page = evidence_page.page(*(json.loads(file.read_text()) for file in found))
    assert (evidence_page.OUT / "README.md").read_text() == page


def test_recordings_keep_totals_only() -> None:
    for found in json.loads((evidence_page.RESULTS / "harmful.json").read_text())[
        "recordings"
    ].values():
        assert "per_problem" not in found["agreement"] and "histogram" not in found["entropy"]
