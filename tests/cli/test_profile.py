"""`rstitch profile`: a file that `--profile` reads, or one line."""

from __future__ import annotations

import json
from pathlib import Path

from rstitch.costs import load_profile
from rstitch.types import Side
from tests.cli.terminal import rstitch
from tests.pair import pair


def test_what_it_writes_is_what_generate_reads(tmp_path: Path) -> None:
    out = tmp_path / "costs.json"
    done = rstitch("profile", str(out), *pair().options)
    assert (done.code, done.out) == (0, "")
    costs = load_profile(out)
    for side, line in zip(Side, done.err.splitlines()[-2:], strict=True):
        assert line.startswith(f"{side.name}: {1e3 * costs.seconds(side, 1):.2f} ms a step")
        assert costs.seconds(side, 1) > 0 and costs.per_row[side] >= 0
    about = json.loads(out.read_text())
    assert set(about["models"]) == {"slm", "llm"} and about["date"] and about["versions"]
    asked = ["--raw", "--tau", "0.5", "--max-tokens", "3", "--n", "2", "--profile", str(out)]
    assert rstitch("generate", "Mia has", *pair().options, *asked).code == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    told = rstitch("profile", str(tmp_path / "no" / "where"), *pair().options)
    assert told.code == 1
    assert told.err.splitlines()[-1].endswith("cannot be written: No such file or directory")
