"""What is said twice in a run has to agree: each edit that a reviewer got past the checks once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rstitch.evals import directory
from rstitch.evals.drawn import by_group, evenly
from rstitch.evals.tasks import make
from rstitch.report.found import Found
from rstitch.report.recheck import recheck
from rstitch.report.timed import Sums, Took, wrong
from tests.evals.doubles import STITCHED
from tests.report.made import KINDS, edited, run, task_file

Record = dict[str, Any]
VOTE, CASCADE = "vote,k=3", "cascade,bound=0.0"


def checked(path: Path) -> Found:
    return recheck(path, directory.read_config(path))


def of(label: str, change: Callable[[Record], None]) -> Callable[[Record], bool]:
    def changed(one: Record) -> bool:
        if one["type"] != "answer" or one["method"] != label:
            return False
        change(one)
        return True

    return changed


def test_an_honest_run_of_every_kind(all_kinds: Path) -> None:
    found = checked(all_kinds)
    assert found.differences == []
    assert found.records == 3 * len(KINDS) and found.notes == {}


def _loser(one: Record) -> None:
    """The text of a vote that lost, or of the first of a cascade's answers."""
    for packed in one["traces"]:
        text = "".join(
            t for t, keep in zip(packed["texts"], packed["proposals"]["keep"], strict=True) if keep
        )
        if text.rstrip("\ufffd") != one["text"].rstrip("\ufffd"):
            one["text"] = text
            return
    raise AssertionError("all have the same text")


def _special(one: Record) -> None:
    """Text that is said of a token, and appended to the answer."""
    columns = one["traces"][0]
    last = max(i for i, keep in enumerate(columns["proposals"]["keep"]) if keep)
    columns["texts"][last] = " \\boxed{1}" + columns["texts"][last]
    texts, kept = columns["texts"], columns["proposals"]["keep"]
    one["text"] = "".join(text for text, keep in zip(texts, kept, strict=True) if keep)


def _lost(one: Record) -> None:
    one["tokens"], one["lost_tokens"] = one["tokens"] - one["lost_tokens"], 0


def _drafted(one: Record) -> None:
    """As `_lost`, with the count behind it."""
    one["extra"]["drafted"] = one["extra"]["accepted"] = one["slm_tokens"]
    _lost(one)


def _failed(one: Record) -> None:
    one.update(reason="failed", right=False, extra={"error": "x"})


def _appended(one: Record) -> None:
    one["text"] += " \\boxed{1}"


def _seconds(*seconds: float | None) -> Callable[[Record], None]:
    def change(one: Record) -> None:
        one["seconds"] = [one["seconds"][-1] if s is None else s for s in seconds]

    return change


APPENDED = "text is not what its method makes of its traces"
EDITS: dict[str, tuple[str, Callable[[Record], None], str]] = {
    "appended": (STITCHED, _appended, APPENDED),
    "appended to rewind": (KINDS[-1], _appended, APPENDED),
    "appended to a vote": (VOTE, _appended, APPENDED),
    "appended to a cascade": (CASCADE, _appended, APPENDED),
    "appended to an opening": ("opening", _appended, APPENDED),
    "prepended to an opening": (
        "opening", lambda one: one.update(text="\\boxed{1} " + one["text"]), APPENDED
    ),
    "appended to a draft": ("speculative", _appended, "text is not that of its trace's tokens"),
    "appended outside": (
        "transformers-generate", _appended, "text is not that of its trace's tokens"
    ),
    "text of a token": (STITCHED, _special, "trace 0: "),
    "the vote's loser": (VOTE, _loser, APPENDED),
    "the cascade's first": (CASCADE, _loser, APPENDED),
    "a vote less": (VOTE, lambda one: one["traces"].pop(), "its method asks for more"),
    "not escalated": (CASCADE, lambda one: one["traces"].pop(), "its method asks for more"),
    "one trace more": (
        STITCHED, lambda one: one["traces"].append(one["traces"][0]), "for which its method does"
    ),
    "no trace": (STITCHED, lambda one: one.update(traces=[]), "has no trace, the run kept them"),
    "no draft's trace": ("speculative", lambda one: one.update(traces=[]), "has no trace"),
    "failed": (STITCHED, _failed, "reason is failed, but it has"),
    "quick repeats": (STITCHED, _seconds(1e-6, 1e-6, None), "seconds has 1e-06"),
    "slow repeats": ("llm", _seconds(1000.0, 1000.0, None), "seconds has 1000"),
    "slow": ("llm", _seconds(1000.0, 1000.0, 1000.0), "seconds has 1000"),
    "a quick vote": (VOTE, _seconds(1e-6, 1e-6, 1e-6), "its trace took"),
    "a slow draft": ("speculative", _seconds(1000.0, 1000.0, None), "seconds has 1000"),
    "a slow rival": ("transformers-generate", _seconds(1000.0, None, None), "seconds has 1000"),
    "a repeat less": (STITCHED, lambda one: one["seconds"].pop(), "seconds has 2 repeats"),
    "nothing lost": ("speculative", _lost, "lost_tokens is 0, drafts and trials make"),
    "nothing drafted": ("speculative", _drafted, "passes of the SLM"),
    "a draft of another k": (
        "speculative", lambda one: one["traces"][0]["method"].update(k=9), "its trace is of"
    ),
    "a draft of another seed": (
        "speculative", lambda one: one["traces"][0]["sampling"].update(seed=7), "has seed 7"
    ),
    "tokens of a draft": (
        "speculative", lambda one: one["traces"][0]["tokens"].reverse(), "text is not that"
    ),
    "another kind of trace": (
        STITCHED, lambda one: one.update(traces=[{"sides": "", "tokens": [], "forwards": []}]),
        "is not of the kind",
    ),
    "temperature": (
        STITCHED, lambda one: one["traces"][0]["sampling"].update(temperature=0.5), "asks for"
    ),
    "sample": (STITCHED, lambda one: one.update(sample=1), "the run has 1 samples"),
    "problem": ("llm", lambda one: one.update(problem="sum-2"), "is there twice"),
    "method": ("llm", lambda one: one.update(method="mine"), "is of no method of the run"),
    "nonsense": ("llm", lambda one: one.update(text=None), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit(kinds: Path, name: str) -> None:
    label, change, told = EDITS[name]
    edited(kinds, of(label, change))
    found = checked(kinds)
    assert any(told in line for line in found.differences), found.differences


def test_requests_and_elsewhere_are_asked_of_their_place(kinds: Path) -> None:
    """Which answers the LLM writes is settled by a problem's place, not by who did better."""
    config = json.loads((kinds / "config.json").read_text())
    config["methods"]["requests"]["p"] = 1.0 if config["methods"]["requests"]["p"] < 0.5 else 0.0
    (kinds / "config.json").write_text(json.dumps(config))
    assert any("requests" in line and "is of policy" in line for line in checked(kinds).differences)


def test_answers_that_failed_are_counted(kinds: Path) -> None:
    nothing = dict.fromkeys(
        ("tokens", "slm_tokens", "llm_tokens", "lost_tokens", "discards", "handoffs",
         "catchup_tokens", "rewound_tokens"), 0
    )  # fmt: skip

    def change(one: Record) -> None:
        one.update(nothing, reason="failed", right=False, text="", traces=[], inside=False)

    edited(kinds, of(STITCHED, change))
    assert f"failed answers of {STITCHED}: they are in no latency" in checked(kinds).notes


def test_a_method_that_was_quick_in_all_its_repeats_but_the_last(kinds: Path) -> None:
    """No repeat by itself is beyond belief."""

    def change(one: Record) -> bool:
        if one.get("method") != STITCHED:
            return False
        (trace,) = one["traces"]
        n = len(trace["forwards"]["seconds"])
        trace["forwards"]["seconds"] = [0.01] * n  # whatever this machine was at meanwhile
        trace["end"]["usage"]["seconds"] = whole = 0.011 * n
        one["seconds"] = [whole / 4, whole / 4, whole]
        return True

    edited(kinds, change, every=True)
    assert any("more than a factor of 1.5 apart" in line for line in checked(kinds).differences)


def test_times() -> None:
    """A slow pass of the trace excuses quicker repeats, not such as no pass leaves room for."""
    took = Took.of(10.5, [(0, 1.0), (0, 1.0), (0, 1.0), (1, 0.5), (1, 7.0), (1, 0.5)])
    assert (took.whole, took.steady) == (11.0, 4.5)
    assert not list(wrong([5.0, 5.0, 11.0], took)) and not list(wrong([0.46, 111.0, 11.0], took))
    assert list(wrong([0.44, 5.0, 11.0], took)) and list(wrong([112.0, 5.0, 11.0], took))
    assert list(wrong([5.0, 5.0, 10.9], took)), "less than the trace itself"
    sums = Sums()
    sums.add([3.1, 3.1, 11.0], took)
    assert sums.wrong() is None
    sums.add([2.0, 2.0, 11.0], took)
    assert "a factor of 1.5" in str(sums.wrong())


@pytest.mark.parametrize("way", [evenly, by_group])
def test_right_is_checked_of_a_cell_of_a_study(tmp_path: Path, way: Any) -> None:
    """A study draws its problems by group; `rstitch eval` does not."""
    every = make(str(task_file(tmp_path, 12))).problems()
    assert evenly(every, 3) != by_group(every, 3), "the ways agree here, which shows nothing"
    out = run(tmp_path, "llm", n=3, of=12, way=way)
    assert checked(out).notes == {}
    edited(out, of("llm", lambda one: one.update(right=not one["right"])))
    (line,) = checked(out).differences
    assert "its text says otherwise" in line


@pytest.mark.parametrize("task", [{"name": "jsonlines", "path": "EVIL:C"}, {"name": "EVIL:C"}])
def test_no_code_is_run_that_a_run_names(kinds: Path, tmp_path: Path, task: Record) -> None:
    """As its task, a method of it, or the policy of a trace."""
    evil, done = tmp_path / "evil.py", tmp_path / "done"
    evil.write_text(f"open({str(done)!r}, 'w')\nclass C: ...\n")
    name = f"{evil}:C"
    config = json.loads((kinds / "config.json").read_text())
    config["asked"]["task"] = json.loads(json.dumps(task).replace("EVIL", str(evil)))
    config["methods"][STITCHED] = {"name": name}
    config["methods"]["llm"] = {"name": "llm", "path": name}
    (kinds / "config.json").write_text(json.dumps(config))

    def change(one: Record) -> None:
        one["traces"][0]["policy"] = {"name": name}

    edited(kinds, of(STITCHED, change))
    found = checked(kinds)
    assert not done.exists()
    assert "right or wrong: the task cannot be made again here" in found.notes
    assert f"what {STITCHED} asked for: its method is a file's" in found.notes
