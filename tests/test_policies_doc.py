"""docs/policies.md: its example runs as it stands, through the command line and from Python."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rstitch import trace as traces
from rstitch.explain import check
from rstitch.policy import REGISTRY, load
from rstitch.policy.base import SIGNALS
from rstitch.policy.registry import from_file
from rstitch.types import Side
from tests.cli.terminal import rstitch
from tests.pair import QUESTION, TAU, pair, stitch

PAGE = (Path(__file__).parents[1] / "docs/policies.md").read_text(encoding="utf-8")


@pytest.fixture
def calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example in the current directory, as the page calls it."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "calm.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return "calm.py:Calm"


def test_through_the_command_line(calm: str) -> None:
    """`generate` and `explain`, as on the page."""
    options = ["--policy", calm, "--param", f"tau={TAU}", "--max-tokens", "30", "--json"]
    done = rstitch("generate", QUESTION, *pair().options, *options, "--trace", "t.jsonl")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["policy"] == {"name": calm, "tau": TAU}
    (trace,) = traces.read(Path("t.jsonl"))
    first = trace.proposals[0]
    assert first.signals == {"boundary": 1.0} and not first.keep, "the LLM begins"
    assert rstitch("explain", "t.jsonl", "--no-show", "--policy", calm).code == 0
    refused = rstitch("explain", "t.jsonl", "--no-show").line
    assert "is a file's; give that file with --policy path.py:Class" in refused


def test_from_python(calm: str) -> None:
    """By name and as an object; re-run with the class that the user gives."""
    by_name = stitch().generate(QUESTION, policy=calm, max_tokens=20)
    by_object = stitch().generate(QUESTION, policy=load(calm), max_tokens=20)
    assert by_name.text == by_object.text
    assert by_name.trace.policy == {"name": calm, "tau": 0.02}
    assert {p.side for p in by_name.trace.proposals} == set(Side)
    assert check(by_name.trace, from_file(calm)) is None


def test_explain_finds_what_a_policy_from_a_file_did_not_decide(calm: str) -> None:
    trace = stitch().generate(QUESTION, policy=load(calm, tau=0.9), max_tokens=12).trace
    assert check(trace, from_file(calm)) is None
    trace.proposals[0].signals["boundary"] = 0.0
    difference = check(trace, from_file(calm))
    assert difference is not None and difference.index == 0


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("nowhere.py:Calm", "policy 'nowhere.py:Calm': there is no file nowhere.py"),
        ("calm.py:Storm", "policy 'calm.py:Storm': calm.py has no class Storm"),
        ("calm.py:hand_off", "is no subclass of rstitch.policy.base.Policy"),
    ],
)
@pytest.mark.usefixtures("calm")
def test_wrong_names_are_one_line(policy: str, message: str) -> None:
    assert message in rstitch("generate", "Why?", *pair().options, "--policy", policy).line
    Path("t.jsonl").touch()
    assert message in rstitch("explain", "t.jsonl", "--policy", policy).line


def test_the_page_lists_every_signal_and_every_policy() -> None:
    read, ships = (re.split("^## ", PAGE, flags=re.MULTILINE)[n] for n in (1, 2))
    assert {"reads", *SIGNALS} == set(re.findall(r"^\| `(\w+)` \|", read, re.MULTILINE))
    assert all(f"`{name}`" in ships for name in REGISTRY)
