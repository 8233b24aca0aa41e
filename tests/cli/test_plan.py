"""`rstitch plan`: from a profile and traces alone, or from a live pair; and wrong wishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rstitch import trace
from rstitch.latency import profile
from rstitch.latency.costs import Host, PassCosts
from rstitch.latency.forms import TERMS
from rstitch.trace import Trace
from rstitch.types import Proposal, Sampling, Side
from tests.cli.terminal import rstitch
from tests.latency.worlds import forwards, true_form

SLM, LLM = Side.SLM, Side.LLM


def answer(tau: float, llm: int, name: str = "entropy") -> Trace:
    """Forty tokens, of which the LLM writes `llm`, one at a time."""
    policy = {"name": name, "tau": tau} if name == "entropy" else {"name": name}
    prompts = {SLM: (1,) * 20, LLM: (1,) * 20} if name == "entropy" else {LLM: (1,) * 20}
    one = Trace(f"{name}{tau}", policy, Sampling(seed=0), prompts, {"slm": "a/slm", "llm": "a/llm"})
    passes, at = [("slm", 20, 20)] if name == "entropy" else [], 0
    for position in range(40):
        side = LLM if name == "llm" or position % 40 < llm else SLM
        if side is LLM:
            passes.append(("llm", 20 + position - at, 20 + position))
            at = 20 + position
        else:
            passes.append(("slm", 1, 20 + position))
        one.proposals.append(Proposal(position, 3, side, True, side, 0.1, -0.1, {}))
        one.texts.append("x")
    one.forwards = forwards(*[p for p in passes if p[1]])
    one.end = {"reason": "length", "usage": {"tokens": 40}}
    return one


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Three answers, and a profile whose costs are known."""
    with (tmp_path / "t.jsonl").open("w") as file:
        trace.write([answer(0.01, 20), answer(0.1, 4), answer(0.0, 40, "llm")], file)
    forms = {side: {kind: true_form(kind, side) for kind in TERMS} for side in Side}
    about = {"pair": "a", "models": {"slm": "a/slm", "llm": "a/llm"}, "versions": {}, "date": "d"}
    about["hardware"] = profile.hardware({})
    profile.save(tmp_path / "p.json", profile.Profile(PassCosts(forms, Host(1e-5, 0.0)), about))
    return ["--traces", str(tmp_path / "t.jsonl"), "--profile", str(tmp_path / "p.json")]


def test_a_plan_from_files_answers_every_question(files: list[str]) -> None:
    """No model is loaded. The cheaper tau is chosen only where somebody graded it; here nobody did,
    so it is the middle one."""
    done = rstitch("plan", *files, "--in-flight", "1,4,16")
    assert (done.code, [x for x in done.err.splitlines() if "warning" in x]) == (0, []), done.err
    for word in (
        "entropy,tau=0.01", "entropy,tau=0.1", "llm", "chosen: entropy,tau=0.1", "nobody graded",
        "in flight", "two devices", "10x LLM", "1000 replicas", "stitching pays", "simulated",
    ):  # fmt: skip
        assert word in done.out, (word, done.out)


def test_the_same_as_json(files: list[str]) -> None:
    found = json.loads(rstitch("plan", *files, "--in-flight", "4,1", "--json").out)
    assert [level["in_flight"] for level in found["levels"]] == [1, 4]
    rules = {rule["method"]: rule for rule in found["rules"]}
    assert rules["entropy,tau=0.1"]["llm_share"] == pytest.approx(0.1)
    assert rules["entropy,tau=0.1"]["seconds"] < rules["entropy,tau=0.01"]["seconds"]
    assert rules["llm"]["speed_up"] == pytest.approx(1.0)
    one = found["levels"][0]
    want = rules["llm"]["seconds"] / rules["entropy,tau=0.1"]["seconds"]
    assert one["gain"] == pytest.approx(want, rel=1e-6), "one in flight is one at a time"
    assert one["larger"] > one["gain"], "a dearer LLM is worth more to leave out"
    assert found["replicas"][0]["even"] == pytest.approx(1000 * one["stitched"])
    assert found["replicas"][0]["at_random"] < found["replicas"][0]["even"]


def test_traces_of_another_pair_warn(files: list[str], tmp_path: Path) -> None:
    content = json.loads((tmp_path / "p.json").read_text())
    content["models"]["llm"] = "a/other"
    (tmp_path / "p.json").write_text(json.dumps(content))
    done = rstitch("plan", *files, "--in-flight", "1")
    assert "warning: the traces are of the LLM a/llm, profile" in done.err


def test_without_a_stitched_answer_there_is_nothing_to_plan(
    files: list[str], tmp_path: Path
) -> None:
    with (tmp_path / "t.jsonl").open("w") as file:
        trace.write([answer(0.0, 40, "llm")], file)
    assert rstitch("plan", *files).err.splitlines()[-1].startswith("rstitch: no answer is stitched")


def test_a_live_pair_is_measured_and_asked() -> None:
    """Two problems of the built-in pair, with little time to measure."""
    asked = ["--problems", "2", "--taus", "0.03", "--max-tokens", "12", "--seconds", "0.5"]
    done = rstitch("plan", *asked, "--in-flight", "1,2", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {rule["method"] for rule in found["rules"]} == {"llm", "slm", "entropy,tau=0.03"}
    assert all(level["stitched"] > 0 for level in found["levels"])


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["--in-flight", "1,x"], "--in-flight has 'x'; write whole numbers"),
        (["--in-flight", "0"], "--in-flight has '0'"),
        (["--in-flight", ","], "--in-flight is ','"),
        (["--taus", "1.5"], "--taus has 1.5; a tau that stitches"),
        (["--taus", "much"], "--taus is 'much'; it must be a number"),
        (["--taus", "0.1", "--traces", "t"], "--taus 0.1 are for answers to be written"),
        (["--traces", "none.jsonl"], "cannot read none.jsonl"),
        (["--profile", "none.json"], "profile none.json cannot be read"),
    ],
)
def test_wrong_wishes_are_told_at_once(asked: list[str], line: str) -> None:
    assert rstitch("plan", *asked).line.startswith(line)
