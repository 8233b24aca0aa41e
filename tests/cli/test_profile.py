"""`rstitch profile`: a file that `--profile` reads, a check of its prices, or one line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from rstitch.costs import LinearCosts, load_profile, save_profile
from rstitch.errors import BadRequest
from rstitch.latency import profile
from rstitch.latency.shape import Shape
from rstitch.types import Side
from tests.cli.terminal import rstitch, start_slowly
from tests.pair import pair

QUICKLY = ["--seconds", "0.5", "--context", "64", "--max-rows", "4"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of the tiny pair, and what was said."""
    out = tmp_path_factory.mktemp("profile") / "costs.json"
    done = rstitch("profile", str(out), *pair().options, *QUICKLY)
    assert (done.code, done.out) == (0, ""), done
    (out.parent / "err").write_text(done.err)
    return out


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("traces") / "t.jsonl"
    asked = ["--raw", "--tau", "0.6", "--max-tokens", "12", "--n", "2", "--trace", str(out)]
    assert rstitch("generate", "Mia has", *pair().options, *asked).code == 0
    return out


def test_what_it_writes_is_what_generate_reads(made: Path) -> None:
    costs, err = load_profile(made), (made.parent / "err").read_text()
    for side, line in zip(Side, err.splitlines()[-2:], strict=True):
        assert line.startswith(f"{side.name}: "), err
        assert line.endswith(" ms more a row")
        assert costs.seconds(side, 1) > 0 and costs.per_row[side] >= 0
    assert "SLM one: " in err and "LLM prefill: " in err and "held out, " in err
    assert not list(made.parent.glob(".*")), "something half written is left"
    asked = ["--raw", "--tau", "0.5", "--max-tokens", "3", "--n", "2", "--profile", str(made)]
    done = rstitch("generate", "Mia has", *pair().options, *asked)
    assert done.code == 0 and "warning: profile" not in done.err


def test_a_profile_says_what_it_belongs_to_and_reads_back(made: Path, tmp_path: Path) -> None:
    found = profile.load(made)
    assert set(found.about["models"]) == {"slm", "llm"} and found.about["date"]
    assert found.about["versions"]["torch"] and found.about["hardware"]["device"] == "cpu"
    assert {point[0] for point in found.grid} == {"slm", "llm"}
    profile.save(tmp_path / "again.json", found)
    assert profile.load(tmp_path / "again.json") == found
    assert found.costs.seconds(Side.LLM, Shape.even(1, 1, 16)) > 0
    with pytest.raises(BadRequest, match="context of 101"):
        found.costs.seconds(Side.LLM, Shape.even(1, 1, 100))


def test_a_check_prints_the_floor_and_the_errors(made: Path, traces: Path) -> None:
    done = rstitch("profile", "--check", str(traces), "--profile", str(made), *pair().options)
    assert done.code == 0, done.err
    for word in ("2 answers", "noise floor", "median", "p95", "the prices "):
        assert word in done.out, done.out
    asked = ["--check", str(traces), "--answers", "1", "--json", *QUICKLY, *pair().options]
    measured = rstitch("profile", *asked)
    told = json.loads(measured.out)
    assert told["answers"] == 1 and told["measured"] > 0 and isinstance(told["holds"], bool)


def changed(made: Path, out: Path, change: Any) -> str:
    content = json.loads(made.read_text())
    change(content)
    out.write_text(json.dumps(content))
    return str(out)


def test_a_profile_of_another_machine_warns_and_names_both(made: Path, tmp_path: Path) -> None:
    other = changed(
        made, tmp_path / "p.json", lambda p: p["hardware"].update(cpu="Abacus 9", dtype="float16")
    )
    asked = ["--raw", "--max-tokens", "2", "--profile", other]
    done = rstitch("generate", "Mia has", *pair().options, *asked)
    ours = profile.hardware({})["cpu"]
    (line,) = [line for line in done.err.splitlines() if line.startswith("warning: profile")]
    assert done.code == 0
    assert line.endswith(
        f"p.json was measured with cpu Abacus 9, dtype float16; here it is cpu {ours}, "
        "dtype float32"
    )


def test_an_old_profile_is_read_for_waiting_and_refused_for_pricing(tmp_path: Path) -> None:
    save_profile(tmp_path / "old.json", LinearCosts((1.0, 7.0), (0.0, 0.1)), machine="x86_64")
    assert load_profile(tmp_path / "old.json").base == (1.0, 7.0)
    assert profile.elsewhere(tmp_path / "old.json") is None
    with pytest.raises(BadRequest, match="old.json is of an older rstitch.*measure again"):
        profile.load(tmp_path / "old.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(version=9), "is of version 9, this rstitch reads 3"),
        (lambda p: p["passes"].pop("llm"), "is damaged"),
        (lambda p: p["passes"]["slm"].update(other={}), "is damaged.*other"),
        (lambda p: p["host"].update(step=-1), "is damaged.*-1 is no number of seconds"),
        (lambda p: p["slm"].update(base=0), "slm.base is 0"),
    ],
)
def test_a_damaged_profile_is_refused_by_name(
    change: Any, message: str, made: Path, tmp_path: Path
) -> None:
    changed(made, tmp_path / "p.json", change)
    with pytest.raises(BadRequest, match=f"profile .*p.json.* ?{message}"):
        profile.load(tmp_path / "p.json")


def test_what_cannot_be_is_told_before_anything_is_loaded(tmp_path: Path, made: Path) -> None:
    assert rstitch("profile").line.startswith("give a file to write, or --check")
    there = str(tmp_path / "no" / "where")
    told = rstitch("profile", there).line
    assert told == f"profile {there} cannot be written: No such file or directory"
    assert rstitch("profile", str(tmp_path)).line.endswith("cannot be written: it is a directory")
    assert "needs --check" in rstitch("profile", "--profile", str(made)).line
    assert "cannot read" in rstitch("profile", "--check", str(tmp_path / "none.jsonl")).line
    assert rstitch("profile", "--check", str(tmp_path)).line.startswith(f"{tmp_path} is no run")
    assert rstitch("profile", str(tmp_path / "p"), "--seconds", "0").code == 2


def test_ctrl_c_leaves_no_file_and_no_half_of_one(tmp_path: Path) -> None:
    child = start_slowly("profile", str(tmp_path / "p.json"), *pair().options)
    assert child.stderr is not None
    for line in child.stderr:
        if line.startswith(b"measuring"):
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, b""), err
    assert b"Traceback" not in err and not list(tmp_path.iterdir())
