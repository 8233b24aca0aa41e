"""What the benchmarks compute by themselves, and whether their results belong to what ships."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rstitch
from benchmarks import common
from benchmarks import server as served
from benchmarks.inflight import Pass, Run, mean_costs, optimum
from benchmarks.load import Answer, Done
from rstitch.engine import gate
from rstitch.engine.request import Request
from rstitch.pairs import BUILTIN, ORDER
from rstitch.policy import make
from rstitch.types import Side

CARD = json.loads((BUILTIN / "pair.json").read_text())
ORDER_CARD = ORDER / "pair.json"


@pytest.mark.parametrize("path", sorted(common.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_result_belongs_to_the_pair_that_ships(path: Path) -> None:
    """Run the benchmark again with --save after another pair has been shipped."""
    measured = json.loads(path.read_text()).get("pair")
    if measured is None:
        pytest.skip("does not say yet which weights it measured")
    card = json.loads(ORDER_CARD.read_text()) if path.stem.startswith("order-") else CARD
    assert measured["version"] in (card["version"], None)
    for name, digest in measured["sha256"].items():
        assert digest == card["sha256"][name], name


@pytest.mark.parametrize(
    "path", sorted(Path(common.__file__).parent.glob("*.py")), ids=lambda p: p.stem
)
def test_it_finds_what_it_imports(path: Path) -> None:
    """What it imports may be moved; nobody else would notice."""
    try:
        importlib.import_module(f"benchmarks.{path.stem}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith(("rstitch", "benchmarks")):
            raise
        pytest.skip(f"needs {error.name}")


def test_each_is_first_in_its_turn() -> None:
    found = [common.rotated(dict.fromkeys("abc"), number) for number in range(4)]
    assert found == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_the_weights_of_the_built_in_pair_and_of_a_directory(tmp_path: Path) -> None:
    found = common.weights()
    assert found["version"] == CARD["version"]
    assert set(found["sha256"]) == {"slm/model.safetensors", "llm/model.safetensors"}
    assert found["sha256"].items() <= CARD["sha256"].items()
    (tmp_path / "slm").mkdir()
    (tmp_path / "slm" / "model.safetensors").write_bytes(b"trained")
    digest = hashlib.sha256(b"trained").hexdigest()
    assert common.weights(tmp_path) == {
        "version": None,
        "sha256": {"slm/model.safetensors": digest},
    }


def test_the_commit_says_whether_the_code_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A saved result is no change of the code; where there is no git there is no commit."""
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert common.commit() is None

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "code").write_text("1")
    git("add", "code")
    git("commit", "-q", "-m", "code")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.json").write_text("{}")
    assert common.commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "code").write_text("2")
    assert common.commit() == git("rev-parse", "--short", "HEAD") + "+dirty"


# -- the optimum of benchmarks/inflight.py --------------------------------------------------------


def test_the_mean_cost_by_rows() -> None:
    """By hand: 1 row 2 s, 3 rows 4 s, so 2 rows 3 s; beyond what was seen, the nearest."""
    steps = [Pass(Side.SLM, rows, rows, s) for rows, s in ((1, 1.0), (1, 3.0), (3, 4.0))]
    assert mean_costs(steps, 4) == [2.0, 2.0, 3.0, 4.0, 4.0]
    assert mean_costs([], 1) == [0.0, 0.0]


def test_the_optimum_of_one_row() -> None:
    """Of 4 SLM steps of 1 s half are discarded, so 2 LLM steps of 4 s: 4 tokens in 12 s, and no
    threshold can change that. A prefill of 5 s counts on neither side."""
    steps = [Pass(Side.SLM, 1, 1, 1.0)] * 4 + [Pass(Side.LLM, 1, 2, 4.0)] * 2
    run = Run(seconds=17.0, kept=4, passes=[*steps, Pass(Side.LLM, 1, 100, 5.0)])
    run.asked, run.left = {Side.SLM: 4, Side.LLM: 2}, {Side.SLM: 2, Side.LLM: 2}
    found = optimum(run, 1)
    assert found["optimum"] == pytest.approx(4 / 12) and found["reached"] == pytest.approx(1)


def test_the_optimum_of_two_rows_that_wait_for_each_other() -> None:
    """An LLM step takes 10 s for one row or two; the SLM's 1 s. Half of the SLM's tokens are
    discarded, the LLM always hands back.

    Both waiting (b = 2): from none waiting, 1/4, 1/2, 1/4 go to 0, 1, 2; from one, half stay; from
    two, all return: visits 2 : 2 : 1.5, so (2 * 1 + 2 * 0.5 + 1.5 * 2) tokens in (2 + 2 + 15) s.
    At once (b = 1): visits 4 : 2 : 1, so (4 * 1 + 2 * 1 + 1 * 2) tokens in (4 + 20 + 10) s.
    """
    steps = [Pass(Side.SLM, 1, 1, 1.0), Pass(Side.SLM, 2, 2, 1.0)]
    steps += [Pass(Side.LLM, 1, 1, 10.0), Pass(Side.LLM, 2, 2, 10.0)]
    run = Run(seconds=34.0, kept=8, passes=steps)  # as the naive rule does
    run.asked, run.left = {Side.SLM: 8, Side.LLM: 4}, {Side.SLM: 4, Side.LLM: 4}
    found = optimum(run, 2)
    assert found["best"] == 2 and found["optimum"] == pytest.approx(6 / 19)
    assert found["reached"] == pytest.approx((8 / 34) / (6 / 19))


def test_a_step_that_is_no_line_is_bounded() -> None:
    """Two rows as dear as four: a line through the costs put the optimum below what was reached."""
    costs = {1: 1.0, 2: 4.0, 3: 4.0, 4: 4.0}
    steps = [Pass(Side.LLM, rows, rows, costs[rows]) for rows in costs]
    assert mean_costs(steps, 4)[1:] == list(costs.values())


def test_a_calibration_draws_enough_to_show_its_margin() -> None:
    """500 draws cannot show a loss below 0.002, so 0 wrong cards of them said nothing."""
    from benchmarks.calibration import CALIBRATIONS, coverage, drawn

    assert drawn(0.01) == 500 and drawn(0.002) == 1497
    alone = np.ones(1000, dtype=bool)
    ours = alone.copy()
    ours[:2] = False
    found = coverage(ours[None], alone, 0.002, seed=0)
    # Exactly on the boundary, shown where none is drawn: 0.998 ^ 1497 = 5 % of 200. None at all
    # happens once in 28,000, more than 25 once in 110,000.
    assert found["drawn"] == 1497 and 0 < found["wrong"] <= 25 < CALIBRATIONS, found


# -- what benchmarks/server.py counts -------------------------------------------------------------


def test_a_block_counts_between_its_first_and_its_last_clients() -> None:
    """By hand: two clients, an answer each second from second 1 on; of six the first and the last
    two are left out, so two answers in the two seconds from the second's end to the fourth's."""
    ends = [Answer(sent=i, first=0.5, seconds=1.0, tokens=10, reason="stop") for i in range(6)]
    run = served.Run()
    run.add(Done([ends], cpu=0.6, wall=6.0), clients=2)
    told = run.told()
    assert (told["answers_per_second"], told["tokens"]) == (1.0, 10.0)
    assert told["generator_cpu"] == pytest.approx(0.1)
    assert told["ttft"] == [0.5] * 3 and told["answer"] == [1.0] * 3 and not run.lost


def test_what_is_lost_while_a_block_warms_up_is_lost() -> None:
    ends = [Answer(i, 0.5, 1.0, 10, "stop" if i else "lost") for i in range(3)]
    run = served.Run()
    run.add(Done([ends], cpu=0.0, wall=3.0), clients=1)
    assert run.lost == ["lost"]


# -- the deadlines of benchmarks/steer.py ---------------------------------------------------------


def test_misses_beside_those_of_the_slm_alone() -> None:
    """By hand: of four the 2nd and 3rd are late, the 3rd with LLM tokens; the SLM's 3rd and 4th."""
    from benchmarks.steer import Timed

    def answer(seconds: float, llm: int = 0) -> Any:
        usage = SimpleNamespace(seconds=seconds, llm_tokens=llm, llm_share=llm / 10)
        return SimpleNamespace(usage=usage, text="", reason="stop")

    problems: Any = [SimpleNamespace(answer=1)] * 4
    given = [answer(1.0), answer(1.1), answer(9.0, llm=2), answer(0.5, llm=4)]
    slm = [answer(one) for one in (1.0, 1.0, 1.2, 1.2)]
    found = Timed.of(problems, given, slm, [1.0] * 4)
    assert (found.met, found.slm_met, found.both_missed) == (0.5, 0.5, 0.25)
    assert (found.missed_with_llm, found.accuracy) == (0.25, 0.0)
    assert found.share == pytest.approx(0.15)


def test_a_bar_for_every_part_that_was_run() -> None:
    from benchmarks.steer import bars_of

    def factors(*met: float) -> Any:
        return {"factors": {i: {"met": one} for i, one in enumerate(met)}}

    parts = {"deadlines": factors(0.99, 0.94), "predicted": factors(1.0, 0.95)}
    bars = {"deadlines_met_95_percent": False, "predicted_deadlines_met_95_percent": True}
    assert bars_of(parts) == bars
    shares = {"ceilings": {0.1: {"within": 0.98, "points": -1.0}}}
    bars = {"within_2_points_99_percent": False, "accuracy_within_2_points": True}
    assert bars_of({"shares": shares}) == bars


# -- what benchmarks/overhead.py looks into -------------------------------------------------------


def test_seconds_of_the_gate_and_of_the_passes_of_a_stitched_answer() -> None:
    """It reaches into the engine, which may be cut anew."""
    from benchmarks.overhead import timed, write

    policy = make("entropy", tau=0.0)  # the LLM's tokens, so that both sides are asked
    with rstitch.load(max_rows=1) as stitch:
        request = Request(stitch.prompts("What is 2 + 3?", policy=policy), policy, max_tokens=4)
        read = gate.read
        with timed(stitch.in_process) as spent:
            answer = write(stitch.in_process, request)
        assert gate.read is read
    assert 0 < spent["gate"] and 0 < spent["forward"]
    assert sum(spent.values()) < sum(answer.steps)
