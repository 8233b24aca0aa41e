"""The page says what the table says, to the digit; what models wrote stays text."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rstitch.report import viewer
from rstitch.report.loaded import load
from rstitch.report.page import page
from rstitch.report.sections import sections
from tests.cli.terminal import rstitch
from tests.evals.doubles import STITCHED
from tests.report.made import HOSTILE, edited, run

ANALYSIS: dict[str, Any] = {
    "tau": 0.03,
    "vocabulary": 1000,
    "entropy": {
        "slm": {"mean": 0.02, "right": {"median": 0.01, "mean": 0.02, "n": 5},
                "wrong": {"median": 0.03, "mean": 0.04, "n": 3}},
        "llm": {"mean": 0.01},
        "histogram": {"edges": [0.001, 0.01, 0.1, 1.0], "slm": [5, 3, 2], "llm": [8, 1, 1]},
    },
    "lengths": {"both_right": 5, "slm": 40.0, "llm": 80.0, "ratio": 2.0},
    "agreement": {"on_llm_text": 0.9, "on_slm_text": 0.8, "per_problem": {"a": 0.9}},
    "harm": {"wrong": 8, "h1": {
        "found": 7, "silent": 0.28, "interval": [0.08, 0.64],
        "auroc": {"1": 0.55, "4": 0.7, "8": 0.72, "12": 0.7, "16": 0.66},
        "mean_entropy": {"1": 0.02, "4": 0.03, "8": 0.034, "12": 0.03, "16": 0.028},
        "overall_mean": 0.025,
    }, "h2": {"found": 0, "silent": None, "interval": None, "auroc": {}, "mean_entropy": {}}},
    "overwritten": {"n": 1, "problems": ["<b>a</b>"]},
    "speculation": {"run": "fast", "method": "speculative", "slower": 1, "rho": 0.5,
                    "pairs": [["a", 0.9, 1.4], ["<i>b</i>", 0.95, 0.8], ["c", 1.0, 1.6]]},
}  # fmt: skip


class Cells(HTMLParser):
    """Rows of all tables: the texts of their cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_numbers_are_the_tables(finished: Path) -> None:
    loaded = load(finished)
    rows = Cells(page([loaded], 4)).rows
    for row in loaded.table.rows:
        first, second = [cells for cells in rows if cells[0] == row.method][:2]
        assert f"{100 * row.right:.2f}" in first, (row, first)
        assert f"{row.seconds:.3f}" in second and f"{row.tokens:.1f}" in second
        if row.speed and row.comparison:
            assert f"{row.comparison.points:+.2f}" in first
            assert f"{row.speed.ratio:.2f}x" in second and f"{row.speed.per_token:.2f}" in second


def test_nothing_is_asked_of_another_machine(finished: Path) -> None:
    text = page([load(finished)], 4)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "http://" not in text and "https://" not in text and "@import" not in text


def test_what_models_wrote_stays_text(copy: Path) -> None:
    def change(one: dict[str, Any]) -> bool:
        if one.get("method") == STITCHED:
            one["text"] = HOSTILE
            one["traces"][0]["texts"][0] = HOSTILE
        return one.get("method") == STITCHED

    edited(copy, change)
    text = page([load(copy)], 4)
    assert "window.hacked" in text and "<script>window.hacked" not in text and "<img" not in text


def test_fewer_traces(finished: Path) -> None:
    def entries(most: int) -> list[Any]:
        text = page([load(finished)], most)
        found = re.search(r'<script type="application/json" id="t0">(.*?)</script>', text, re.S)
        return json.loads(found[1])["entries"] if found else []

    assert [len(entries(most)) for most in (0, 2, 40)] == [0, 2, 4]
    kinds = [one["kind"] for one in entries(40)]
    assert kinds == sorted(kinds, key=lambda kind: kind != "regression"), "regressions first"


def test_entropy(copy: Path, tmp_path: Path) -> None:
    (copy / "analysis.json").write_text(json.dumps(ANALYSIS))
    text = page([load(copy)], 0)
    assert "tau 0.03" in text and "28.0% (8.0% to 64.0%)" in text
    assert "0.03 (0.207 nats)" in text and "&lt;b&gt;a&lt;/b&gt;" in text
    assert text.count("AUROC of entropy for harmful tokens") == 2, "wide and narrow"
    assert "slower than the LLM alone on 1 of 3 problems" in text
    assert text.count("&lt;i&gt;b&lt;/i&gt;: 95.0 % agree, 0.80 times as fast") == 2


def test_a_recording_without_scores_or_harm(copy: Path) -> None:
    nothing = dict.fromkeys(ANALYSIS)
    (copy / "analysis.json").write_text(json.dumps({**nothing, "tau": 0.03, "vocabulary": 1000}))
    assert "<h3>Entropy</h3>" in page([load(copy)], 0)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"tau": 0.03}', json.dumps({**ANALYSIS, "entropy": {"slm": 3}}),
        json.dumps({**ANALYSIS, "vocabulary": 0}), json.dumps({**ANALYSIS, "harm": [1]}),
        json.dumps({**ANALYSIS, "speculation": {"pairs": [[1]]}}),
        json.dumps({**ANALYSIS, "tau": "high"}),
    ],
)  # fmt: skip
def test_an_analysis_that_is_none(copy: Path, tmp_path: Path, text: str) -> None:
    (copy / "analysis.json").write_text(text)
    assert "write it again" in rstitch("report", str(copy), "--out", str(tmp_path / "x.html")).line


def test_runs_that_fit_are_one_table(finished: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    config = json.loads((other / "config.json").read_text())
    config["methods"] = {f"{k}!": v for k, v in config["methods"].items() if k == "slm"}
    (other / "config.json").write_text(json.dumps(config))
    records = (other / "records.jsonl").read_text().replace('"method":"slm"', '"method":"slm!"')
    (other / "records.jsonl").write_text(records)
    (one,) = sections([load(finished), load(other)])
    assert [row.method for row in one.table.rows][-1] == "slm!"
    config["asked"]["max_tokens"] = 13
    (other / "config.json").write_text(json.dumps(config))
    assert len(sections([load(finished), load(other)])) == 2
    text = page(sections([load(finished), load(other)]), 0)
    assert 'id="s1"' in text and "2 tables" in text


@pytest.mark.parametrize("at", ["task", "method"])
def test_code_that_changed_between_two_runs_is_not_the_same_code(
    finished: Path, tmp_path: Path, at: str
) -> None:
    """Else the first run's answers stood for the second's, or one grader's beside another's."""
    loaded = []
    for version in ("a", "a", "b"):
        other = Path(shutil.copytree(finished, tmp_path / f"{len(loaded)}"))
        config = json.loads((other / "config.json").read_text())
        name = "mine.py:R"
        config["asked"]["files"] = {"mine.py": version * 64}
        if at == "task":
            config["asked"]["task"] = {"name": name}
        else:
            config["methods"]["slm"] = config["asked"]["methods"]["slm"] = {"name": name}
        (other / "config.json").write_text(json.dumps(config))
        loaded.append(load(other))
    same, changed = sections(loaded)
    assert (len(same.paths), len(changed.paths)) == (2, 1)
    assert same.asked["files"] == {"mine.py": "a" * 64}


def test_an_answer_that_is_too_large_leaves_room_for_others(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> tuple[int, str]:
        text = page([load(finished)], 40)
        found = re.search(r'<script type="application/json" id="t0">(.*?)</script>', text, re.S)
        return len(json.loads(found[1])["entries"]) if found else 0, text

    traces = viewer.traces(load(finished), 40)
    sizes = [len(json.dumps(one)) for one in traces.entries]
    assert len(sizes) == 4 and traces.left_out == 0
    real = viewer.entry

    def first_is_large(choice: Any, *rest: Any) -> dict[str, Any]:
        found = real(choice, *rest)
        worst = traces.entries[0]["problem"] == found["problem"]
        return {**found, "question": "x" * sum(sizes)} if worst else found

    monkeypatch.setattr(viewer, "BYTES", sum(sizes))
    monkeypatch.setattr(viewer, "entry", first_is_large)
    count, text = shown()
    assert count == 3 and "1 answer is not shown" in text
    monkeypatch.setattr(viewer, "BYTES", 1)
    count, text = shown()
    assert count == 0 and "4 answers are not shown" in text


def test_many_in_flight(tmp_path: Path) -> None:
    out = run(tmp_path, "llm", "entropy,tau=0.4", "entropy,tau=0.6", "entropy,tau=0.8", in_flight=2)
    text = page([load(out)], 2)
    assert "times as many answers per second" in text and "tau 0.6" in text


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (lambda run: shutil.rmtree(run), "there is no such run"),
        (lambda run: (run / "config.json").unlink(), "is no run: config.json"),
        (lambda run: (run / "config.json").write_text('{"version": 1'), "cannot be read"),
        (lambda run: (run / "config.json").write_text('{"version": 2}'), "version 2"),
        (lambda run: (run / "records.jsonl").unlink(), "holds no finished answer"),
        (lambda run: (run / "records.jsonl").write_text('{"type":"answ'), "no finished answer"),
        (lambda run: (run / "records.jsonl").write_text("x\n"), "line 1: not a record"),
        (lambda run: (run / "records.jsonl").write_text('{"type":"answer"}\n'), "as a run"),
    ],
)
def test_what_is_no_run(copy: Path, tmp_path: Path, break_it: Any, told: str) -> None:
    break_it(copy)
    page = tmp_path / "page.html"
    assert told in rstitch("report", str(copy), "--out", str(page)).line
    assert not page.exists()


def test_a_run_that_goes_on_is_drawn_and_says_so(copy: Path, tmp_path: Path) -> None:
    file = copy / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    done = rstitch("report", str(copy), "--out", str(tmp_path / "x.html"))
    assert done.code == 0 and "warning: not finished:" in done.err, done


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "no run is named"),
        (["RUN"], "say what to make"),
        (["RUN", "--out", "no/where.html"], "there is no directory no"),
        (["RUN", "--verify", "card.json", "--out", "x.html"], "--verify writes nothing"),
        (["RUN", "--out", "RUN/config.json"], "is no file of this kind"),
    ],
)
def test_wrong_options(finished: Path, options: list[str], told: str) -> None:
    assert told in rstitch("report", *(o.replace("RUN", str(finished)) for o in options)).line
