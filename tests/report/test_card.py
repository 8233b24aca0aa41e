"""A card agrees with its run, and with nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstitch.errors import BadRun
from rstitch.report.card import make_card, verified, verify
from rstitch.report.loaded import load
from tests.cli.terminal import rstitch
from tests.evals.doubles import STITCHED
from tests.report.made import edited, run

Record = dict[str, Any]


def test_round_trip(finished: Path) -> None:
    card = json.loads(json.dumps(make_card([finished])))
    found = verified(card, [finished])
    assert found.differences == [] and found.notes == {}
    assert (found.records, found.traces) == (16, 16)
    row = next(row for row in card["table"] if row["method"] == STITCHED)
    due = next(row for row in load(finished).table.rows if row.method == STITCHED)
    assert row["seconds"] == pytest.approx(due.seconds, rel=1e-5)
    assert card["claims"][0]["speed_up"]["ratio"] == pytest.approx(due.speed.ratio, rel=1e-5)  # type: ignore[union-attr]


def _of(method: str, change: Callable[[Record], None]) -> Callable[[Record], bool]:
    def changed(one: Record) -> bool:
        if one["type"] != "answer" or one["method"] != method:
            return False
        change(one)
        return True

    return changed


def _token(one: Record) -> None:
    texts, columns = one["traces"][0]["texts"], one["traces"][0]["proposals"]
    at = next(i for i, text in enumerate(texts) if text.strip().isascii() and text.strip())
    columns["token"][at] = 3 if columns["token"][at] != 3 else 4


def _side(one: Record) -> None:
    columns = one["traces"][0]["proposals"]
    columns["side"][0] = 1 - columns["side"][0]


def _tau(one: Record) -> None:
    one["traces"][0]["policy"]["tau"] = 0.61


EDITS: dict[str, tuple[Callable[[Record], None], str]] = {
    "right": (lambda one: one.update(right=not one["right"]), "its text says otherwise"),
    "token": (_token, "has token"),
    "side": (_side, "trace 0: decision 0"),
    "count": (lambda one: one.update(llm_tokens=one["llm_tokens"] + 1), "tokens"),
    "quicker": (lambda one: one.update(seconds=[1e-6]), "its trace took"),
    "tau": (_tau, "is of policy"),
    "text": (lambda one: one.update(text="\\boxed{1}"), "text"),
    "group": (lambda one: one.update(group="level 9"), "group is 'level 9'"),
    "seed": (lambda one: one["traces"][0]["sampling"].update(seed=7), "has seed 7"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_shows_even_in_a_card_made_after_it(copy: Path, name: str) -> None:
    """The edit contradicts something else in the run: no hash is needed to see it."""
    change, told = EDITS[name]
    edited(copy, _of(STITCHED, change))
    differences = verify(make_card([copy]), [copy])
    assert differences and any(told in line for line in differences), differences
    assert differences[0].startswith(f"runs[0]: {STITCHED}, sum-0, sample 0: ")


def test_a_fifth_more_seconds_changes_the_table(finished: Path, copy: Path) -> None:
    card = make_card([finished])
    edited(copy, _of(STITCHED, lambda one: one.update(seconds=[one["seconds"][0] * 1.2])))
    differences = verify(card, [copy])
    assert differences[0].startswith("claims[0].speed_up.ratio: the card says ")
    assert any(line.startswith("table[2].seconds: ") for line in differences)
    assert differences[-1].startswith("runs[0].records_sha256: ")


def test_an_edited_card_is_named_by_its_key(finished: Path) -> None:
    card = make_card([finished])
    card["table"][1]["right"] = 0.99
    (line,) = verify(card, [finished])
    assert line.startswith("table[1].right: the card says 0.99, the runs make ")


def test_a_rate_of_more_tokens_than_were_written(tmp_path: Path) -> None:
    out = run(tmp_path, "llm", "slm", in_flight=2)
    assert verified(make_card([out]), [out]).notes == {
        "seconds of the rate of llm": 1, "seconds of the rate of slm": 1
    }  # fmt: skip

    def change(one: Record) -> bool:
        one["tokens"] = one["tokens"] + 1 if one["type"] == "batch" else one["tokens"]
        return one["type"] == "batch"

    edited(out, change)
    (line,) = verify(make_card([out]), [out])
    assert line.startswith("runs[0]: llm: its rate is of ")


def test_an_unfinished_run_has_no_card(copy: Path) -> None:
    file = copy / "records.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(BadRun, match="is not finished .3 of 4 answers of"):
        make_card([copy])


def test_on_the_command_line(copy: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    assert rstitch("report", str(copy), "--card", str(card)).code == 0
    done = rstitch("report", "--verify", str(card))
    assert (done.code, "reproduced from 16 records" in done.out) == (0, True), done
    edited(copy, _of(STITCHED, lambda one: one.update(right=not one["right"])))
    done = rstitch("report", "--verify", str(card), str(copy))
    assert done.code == 1 and "NOT reproduced: runs[0]: stitched" in done.out, done
    told = json.loads(rstitch("report", "--verify", str(card), "--json").out)
    assert len(told["differences"]) > 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no run card"),
        ("[]", "this is no run card"),
        ('{"runs":[],"version":9}', "version 9"),
    ],
)
def test_what_is_no_card(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    assert told in rstitch("report", "--verify", str(path)).line
