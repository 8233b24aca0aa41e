"""Models by hub id, on a hub of our own: what is fetched, and how each refusal is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import errors

from rstitch.engine.hub import explain
from rstitch.types import Side
from tests.fake_hub import COMMIT, GATED, Hub, hub
from tests.pair import pair

WITHOUT_HEAD = """
import json, sys
from rstitch.cli import main
from rstitch.errors import RStitchError
for line in sys.stdin:
    print("--", flush=True)
    try:
        main.app(json.loads(line), standalone_mode=False)
    except RStitchError as error:
        print("refused:", error, flush=True)
"""
"""Several commands in one process, since importing transformers takes seconds."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    bare = pair().copy(Side.LLM, tmp_path_factory.mktemp("hub") / "bare")
    (bare / "model.safetensors").unlink()
    with hub({"lab/slm": pair().slm, "lab/llm": pair().llm, "lab/bare": bare}) as found:
        yield found


def commands(url: str, home: Path, *argvs: list[str]) -> list[str]:
    """What each command wrote to stdout, refusals included; nothing else is on stderr."""
    lines = "".join(json.dumps(argv) + "\n" for argv in argvs)
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HEAD],
        input=lines,
        env={**os.environ, **settings, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr
    return [part.strip() for part in done.stdout.split("--\n")[1:]]


def test_a_check_by_id_fetches_headers_and_every_refusal_is_a_line(
    served: Hub, tmp_path: Path
) -> None:
    revision = tmp_path / "pinned.toml"
    revision.write_text('[slm]\nid = "lab/slm"\nrevision = "v9"\n[llm]\nid = "lab/llm"\n')
    fine, gated, wrong, gone, bare, loads = commands(
        served.url,
        tmp_path / "home",
        ["check", "lab/slm", "lab/llm", "--json"],
        ["check", GATED, "lab/llm"],
        ["check", "lab/slm", "lab/lm"],
        ["check", "--pair", str(revision)],
        ["check", "lab/slm", "lab/bare"],
        ["generate", "Why?", "--slm", "lab/slm", "--llm", GATED],
    )
    found: dict[str, Any] = json.loads(fine)
    assert found["ok"] and found["slm"]["source"] == "lab/slm"
    size = (pair().llm / "model.safetensors").stat().st_size
    assert found["llm"]["stored_bytes"] < size
    assert gated == loads
    assert gated == (
        f"refused: {GATED} is gated on the hub; accept its terms on its page there, then log in "
        "with `hf auth login` or set HF_TOKEN"
    )
    assert wrong == (
        "refused: lab/lm is no directory and no repository on the hub; check the spelling, or log "
        "in with `hf auth login` if it is private"
    )
    assert gone == (
        "refused: lab/slm has no revision 'v9' on the hub; name a branch, tag or commit"
    )
    message = "refused: lab/bare has no safetensors weights; choose a repository that has"
    assert bare == message
    found_weights = list((tmp_path / "home").rglob("*.safetensors"))
    assert not found_weights, "weights were downloaded"


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (errors.LocalEntryNotFoundError("not in the cache"), "no hub in reach"),
        (ConnectionRefusedError(111, "refused"), "no hub in reach"),
        (errors.HFValidationError("a b"), "is no directory and no repository on the hub"),
    ],
)
def test_the_cause_is_found_behind_what_was_raised(
    cause: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    try:
        try:
            raise cause
        except Exception as error:
            raise OSError("two\nlines") from error
    except OSError as error:
        line = explain("lab/slm", None, error)
    assert line is not None and words in line and "\n" not in line


def test_another_failure_is_not_the_hub_s() -> None:
    assert explain("lab/slm", COMMIT, ValueError("a bug")) is None
