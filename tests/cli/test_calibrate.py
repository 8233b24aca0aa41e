"""`rstitch calibrate` as a person runs it: a card is read, refused on others, never half there."""

from __future__ import annotations

import json
import shutil
import signal
import time
import tomllib
from pathlib import Path

import pytest

from rstitch.pairs import preset
from rstitch.pairs.recipe.splits import problems, spread
from rstitch.types import Side
from tests.cli.terminal import rstitch, start_slowly
from tests.pair import QUESTION, pair

OPTIONS = [*pair().options, "--max-tokens", "8"]
NOBODY = ["--slm", "no/slm", "--llm", "no/llm"]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.txt"
    path.write_text("Mia has?\nHow many apples?\n")
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    path = tmp_path / "mine.jsonl"
    rows = [{"id": f"m-{i}", "problem": f"Mia has {i}?", "answer": "no"} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_card_that_pair_reads(mine: str, tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    argv = ["calibrate", "--prompts", mine, "--out", str(card), "--taus", "0.6,0.9,2nats", *OPTIONS]
    done = rstitch(*argv, "--share", "0.5", "--slm-suffix", 'Say "no" to \\ ü.')
    assert done.code == 0, done.err
    assert done.out.startswith("tau ") and "the nearest to 50.0%" in done.out
    assert "LLM alone" in done.out and str(card) in done.out
    found, table = preset(str(card)), tomllib.loads(card.read_text())["calibration"]
    assert found.measured and found.tau in {one["tau"] for one in table["taus"]}
    assert found.slm.suffix == 'Say "no" to \\ ü.'
    assert table["n"] == 2 and len(table["taus"]) == 3 and not table["labels"]
    assert len(table["models"]["llm"]["sha256"]["model.safetensors"]) == 64
    told = rstitch("pairs", str(card))
    assert "calibration: 20" in told.out and rstitch("pairs", str(card), "--json").code == 0
    assert "can be stitched here" in rstitch("check", "--pair", str(card)).out
    assert rstitch("generate", "--pair", str(card), QUESTION, "--max-tokens", "4").code == 0
    assert rstitch(*argv).line == f"--out {card} is there already; name another file, or remove it"


def test_a_card_is_refused_on_other_models(mine: str, tmp_path: Path) -> None:
    """Changed weights, another model, a damaged card; the same models elsewhere are the same."""
    for side, source in ((Side.SLM, pair().slm), (Side.LLM, pair().llm)):
        shutil.copytree(source, tmp_path / side.label)
    card = tmp_path / "card.toml"
    models = ["--slm", str(tmp_path / "slm"), "--llm", str(tmp_path / "llm")]
    argv = ["calibrate", "--prompts", mine, "--out", str(card), "--taus", "0.6", "--json"]
    done = rstitch(*argv, *models, "--max-tokens", "8", "--agreement", "0.01", "--fallback")
    assert done.code == 0 and json.loads(done.out)["card"] == str(card), done.err
    assert tomllib.loads(card.read_text())["llm"]["path"] == "llm", "below the card: relative"
    ask = ["generate", "--pair", str(card), QUESTION, "--max-tokens", "2"]
    assert rstitch(*ask, "--llm", str(pair().llm)).code == 0
    line = rstitch(*ask, "--slm", str(pair().llm)).line
    assert "card.toml was calibrated on another SLM than" in line and "differs" in line
    assert "another LLM than a/b (it is from" in rstitch(*ask, "--llm", "a/b").line
    config = tmp_path / "llm" / "config.json"
    config.write_text(config.read_text() + "\n")
    for command in (ask, ["check", "--pair", str(card)]):
        line = rstitch(*command).line
        assert "another LLM" in line and "(config.json differs); calibrate again" in line
    card.write_text(
        card.read_text().replace("[calibration.models.slm.sha256]", "[calibration.other]")
    )
    assert "no hashes of the SLM; calibrate again" in rstitch(*ask).line


def test_with_answers_a_bound(labelled: str, tmp_path: Path) -> None:
    """Random models are never right, so nothing is lost: 1 - 0.7^6 = 0.88."""
    card = tmp_path / "card.toml"
    argv = ["calibrate", "--prompts", labelled, "--out", str(card), "--taus", "0.9,0.6", *OPTIONS]
    done = rstitch(*argv, "--within", "0.3", "--confidence", "0.85")
    assert done.code == 0 and "within 0.3 of the LLM's accuracy with confidence 0.85" in done.out
    found = tomllib.loads(card.read_text())["calibration"]
    assert found["bound"] == {"within": 0.3, "confidence": 0.85} and found["taus"][0]["shown"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--out", "x.json"], "--out x.json must end in .toml"),
        (["--out", "no/x.toml"], "--out no/x.toml: there is no directory no"),
        (["--share", "2"], "--share is 2; it must be above 0 and at most 1"),
        (["--share", ".2", "--speedup", "2"], "give --share or --speedup, not both"),
        (["--within", "0.1"], "--within 0.1 needs answers, which"),
        (["--taus", "0.1,x"], "--taus is 'x'; it must be a number such as 0.02, or 0.24nats"),
        (["--taus", "0.1,2"], "--taus has 2; each must be from 0 to 1"),
        (["--taus", ","], "--taus must be at least one number"),
        (["--minutes", "0"], "--minutes is 0; it must be above 0"),
        (["--prompts", "no.txt"], "cannot read no.txt: No such file"),
        (
            ["--prompts", "mine.jsonl"],
            "6 prompts cannot show a loss below 0.01 with",
        ),
        (
            ["--prompts", "mine.jsonl", "--within", "1"],
            "--within is 1; it must be a share",
        ),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_loaded(
    argv: list[str],
    message: str,
    mine: str,
    labelled: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["--prompts", mine, "--out", "card.toml", *NOBODY]
    assert rstitch("calibrate", *given, *argv).line.startswith(message)
    assert {one.name for one in tmp_path.iterdir()} == {"mine.txt", "mine.jsonl"}


def test_ctrl_c_leaves_no_card_and_the_same_command_goes_on(mine: str, tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    argv = ["calibrate", "--prompts", mine, "--out", str(card), "--taus", "0.6", *OPTIONS]
    child = start_slowly(*argv)
    records = tmp_path / "card.run" / "records.jsonl"
    patience = time.monotonic() + 100
    while not (records.exists() and records.read_bytes()):
        assert child.poll() is None and time.monotonic() < patience, child.communicate()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130 and b"Traceback" not in err, err
    assert {one.name for one in tmp_path.iterdir()} == {"mine.txt", "card.run"}
    before = records.read_bytes()
    assert rstitch(*argv, "--share", "0.5").code == 0 and card.is_file()
    assert records.read_bytes().startswith(before)


@pytest.mark.slow  # a minute of one core
def test_twenty_prompts_on_the_built_in_pair(tmp_path: Path) -> None:
    """Its tau was fixed on 4,000 dev problems at 0.03; 20 cannot tell that from 0.02 or 0.05."""
    path, card = tmp_path / "mine.txt", tmp_path / "card.toml"
    path.write_text("\n".join(one.question for one in spread(problems("dev"), 20)))
    done = rstitch(
        "calibrate", "--prompts", str(path), "--out", str(card), "--taus", "0.03,0.3", "--json"
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    low, high = found["points"]
    assert found["tau"] == 0.03 and low["agreed"] == 20 and high["agreed"] < 20
    assert low["speed_up"] > 1.5 and 0.1 < low["llm_share"] < 0.2
    assert preset(str(card)).tau == 0.03
